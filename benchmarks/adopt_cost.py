"""What adopting costs: a training step of an adapted model against the unadapted one; and what it gives.

    tests/peers/setup
    PYTHONPATH=.venv-peers/versions/current .venv/bin/python benchmarks/adopt_cost.py [--seeds 0,1,2]

One network (convolutions with batch norm, and a dense layer) is written in each host library that can be
imported, with the host's default surrogate. A step is forward, loss, backward and SGD. Unobserved iterations
are all but one in 500; observed ones leave their sums and are solved. The three are timed interleaved.

Then a dense network is trained on digits, as it is and adapted, from the same weights, over the same batches;
and with the asymmetric surrogate at a fixed window.
Prints Markdown tables: medians of the times, means and standard deviations of the accuracies.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import a2sg
from a2sg.bench.timing import interleave, say

STEPS = 4
NEVER = 10**9


@dataclass(frozen=True)
class Host:
    """A way to write the network.

    Attributes:
        name: what the table calls it.
        package: whose version the table shows.
        neuron: makes one.
        run: (neuron, current `[T, B, ...]`) -> spikes.
        reset: puts a network to rest.
        adapt: further options of `a2sg.adapt`, for these images.
    """

    name: str
    package: str
    neuron: Callable[[], nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    reset: Callable[[nn.Module], object]
    adapt: Callable[[Tensor], dict[str, Any]] = lambda images: {}


class Net(nn.Module):
    """Three convolutions and a dense layer, every one with neurons after it, over `[T, B, ...]`."""

    def __init__(self, host: Host, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.host = host
        sizes = [(3, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b))
            for a, b, stride in sizes
        )
        self.dense = nn.Linear(4 * width, 4 * width)
        self.neurons = nn.ModuleList(host.neuron() for _ in range(4))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        self.host.reset(self)
        x = images.expand(STEPS, *images.shape)
        for conv, neuron in zip(self.convs, self.neurons, strict=False):
            x = self.host.run(neuron, conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        x = self.host.run(self.neurons[-1], self.dense(x.mean((-1, -2))))
        return self.head(x).mean(0)


def whole(neuron: nn.Module, current: Tensor) -> Tensor:
    """A neuron that takes all steps in one call."""
    spikes: Tensor = neuron(current)
    return spikes


def single(neuron: nn.Module, current: Tensor) -> Tensor:
    """A neuron that keeps its state, called once a step."""
    return torch.stack([neuron(x) for x in current])


def stateful(neuron: nn.Module, current: Tensor) -> Tensor:
    """A neuron that takes and returns its state."""
    state, spikes = None, []
    for x in current:
        spike, state = neuron(x, state)
        spikes.append(spike)
    return torch.stack(spikes)


def batch_first(neuron: nn.Module, current: Tensor) -> Tensor:
    """A layer over `[B, T, ...]`."""
    spikes: Tensor = neuron(current.transpose(0, 1))
    return spikes.transpose(0, 1)


def spikingjelly() -> list[Host]:
    try:
        from spikingjelly.activation_based import functional, neuron

        made = {f"step_mode={mode!r}": (neuron.LIFNode, {"step_mode": mode}) for mode in "ms"}
    except ImportError:
        from spikingjelly.clock_driven import functional, neuron

        made = {"MultiStepLIFNode": (neuron.MultiStepLIFNode, {})}
    return [
        Host(
            f"SpikingJelly, {name}",
            "spikingjelly",
            partial(kind, tau=2.0, **options),
            single if options.get("step_mode") == "s" else whole,
            functional.reset_net,
        )
        for name, (kind, options) in made.items()
    ]


def snntorch() -> list[Host]:
    import snntorch

    def rest(net: nn.Module) -> None:
        for leaky in net.neurons:  # type: ignore[union-attr]
            leaky.reset_mem()

    return [Host("snnTorch", "snntorch", lambda: snntorch.Leaky(0.5, init_hidden=True), single, rest)]


def norse() -> list[Host]:
    from norse.torch import LIFBoxCell

    return [Host("Norse", "norse", lambda: LIFBoxCell(dt=0.005), stateful, lambda net: None)]


def sinabs() -> list[Host]:
    from sinabs import reset_states
    from sinabs.activation import MultiSpike, SingleSpike
    from sinabs.layers import LIF

    return [
        Host(
            f"Sinabs, {kind.__name__}",
            "sinabs",
            partial(LIF, 1.5, spike_fn=kind, norm_input=False),
            batch_first,
            reset_states,
        )
        for kind in (SingleSpike, MultiSpike)
    ]


class Fire(torch.autograd.Function):
    """A spike function as train scripts have it."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (distance,) = ctx.saved_tensors
        return grad * (distance.abs() < 0.5)


class Loop(nn.Module):
    """A neuron in plain torch, whose function can be named."""

    def __init__(self) -> None:
        super().__init__()
        self.fire = Fire.apply

    def forward(self, current: Tensor) -> Tensor:
        u, spikes = torch.zeros_like(current[0]), []
        for x in current:
            u = 0.5 * u + x
            spikes.append(self.fire(u - 1.0))
            u = u * (1 - spikes[-1])
        return torch.stack(spikes)


def own() -> list[Host]:
    ways = {
        "named": lambda images: {"functions": {Loop: "fire"}},
        "found with example=": lambda images: {"example": images},
    }
    return [
        Host(f"plain torch, {name}", "torch", Loop, whole, lambda net: None, way)
        for name, way in ways.items()
    ]


def hosts() -> list[Host]:
    """Those of the libraries that can be imported, and plain torch."""
    found = own()
    for library in (spikingjelly, snntorch, norse, sinabs):
        try:
            found += library()
        except ImportError as error:
            say(f"{library.__name__} cannot be imported: {error}")
    return found


def step_of(
    net: Net, windows: a2sg.AdaptiveWindows | None, images: Tensor, labels: Tensor
) -> Callable[[], None]:
    """A training step, as a call."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)

    def step() -> None:
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if windows is not None:
            windows.step()

    return step


def measure(host: Host, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, options.size, options.size, generator=generator).to(options.device)
    labels = torch.randint(10, (options.batch,), generator=generator).to(options.device)
    nets = {name: Net(host, options.width).to(options.device) for name in ("own", "unobserved", "observed")}
    further = host.adapt(images)
    windows = {
        "own": None,
        "unobserved": a2sg.adapt(nets["unobserved"], steps=STEPS, start=NEVER, **further),
        "observed": a2sg.adapt(nets["observed"], steps=STEPS, every=1, start=0, **further),
    }
    calls = {name: step_of(net, windows[name], images, labels) for name, net in nets.items()}
    timings = interleave(calls, options.rounds, options.sample, options.device, host.name)
    own = timings["own"]
    return {
        "host": f"{host.name} {version(host.package)}",
        "own_ms": 1000 * own.median,
        "unobserved_ms": 1000 * timings["unobserved"].median,
        "unobserved_ratio": 1 / timings["unobserved"].speed(own),
        "observed_ms": 1000 * timings["observed"].median,
        "observed_ratio": 1 / timings["observed"].speed(own),
    }


class Dense(nn.Module):
    """64 - 128 - 128 - 10 over digits, every pixel at every step."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
        self.linears = nn.ModuleList([nn.Linear(64, 128), nn.Linear(128, 128)])
        self.neurons = nn.ModuleList(host.neuron() for _ in range(2))
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        self.host.reset(self)
        x = 3 * x.expand(STEPS, *x.shape)
        for linear, neuron in zip(self.linears, self.neurons, strict=True):
            x = self.host.run(neuron, linear(x))
        return self.head(x).mean(0)


ARMS: dict[str, dict[str, Any] | None] = {
    "own": None,
    "fixed": {"spatial": False, "temporal": False},
    "adapted": {},
}
"""Options of `a2sg.adapt`; None leaves the network as it is."""


def accuracy(host: Host, seed: int, arm: str, epochs: int) -> float:
    """Test accuracy after the last epoch, of a third of the digits."""
    pixels, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels / 16).float(), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[:600], order[600:]
    torch.manual_seed(seed)
    net = Dense(host)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    chosen = ARMS[arm]
    windows = None
    if chosen is not None:
        windows = a2sg.adapt(net, steps=STEPS, every=19, **chosen, **host.adapt(images[train[:8]]))
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(64):
            loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if windows is not None:
                windows.step()
    with torch.no_grad():
        right = net(images[test]).argmax(1) == labels[test]
    return 100 * right.float().mean().item()


def train(host: Host, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the second table."""
    seeds = [int(seed) for seed in options.seeds.split(",")]
    row: dict[str, Any] = {"host": f"{host.name} {version(host.package)}"}
    for arm in ARMS:
        say(f"{host.name}: training, {arm}")
        row[arm] = [accuracy(host, seed, arm, options.epochs) for seed in seeds]
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| host | its own step, ms | adapted, ms | ratio | adapted and observed, ms | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['host']} | {row['own_ms']:.1f} | {row['unobserved_ms']:.1f} "
            f"| {row['unobserved_ratio']:.2f} | {row['observed_ms']:.1f} | {row['observed_ratio']:.2f} |"
        )
    return "\n".join(lines)


def trained(rows: list[dict[str, Any]]) -> str:
    """Accuracies as Markdown."""
    lines = ["| host | as it is, % | asymmetric, window 1, % | adapted, % |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['host']} | {' | '.join(_spread(row[arm]) for arm in ARMS)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="0 for no times")
    parser.add_argument("--sample", type=float, default=0.2, help="seconds of a sample at least")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings; empty for none")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", help="hosts whose name contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    chosen = [host for host in hosts() if not options.only or options.only in host.name]
    rows = [measure(host, options) for host in chosen] if options.rounds else []
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    facts = {
        "machine": f"{name}, {torch.get_num_threads()} threads",
        "torch": f"torch {torch.__version__}",
        "date": date.today().isoformat(),
        "setting": f"T {STEPS}, batch {options.batch}, {options.size}x{options.size}, width {options.width}",
    }
    if rows:
        print(f"\n{', '.join(facts.values())}\n\n{table(rows)}")
    accuracies = [train(host, options) for host in chosen] if options.seeds else []
    if accuracies:
        print(f"\ndigits, {options.epochs} epochs, seeds {options.seeds}\n\n{trained(accuracies)}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        content = {**facts, "times": rows, "epochs": options.epochs, "accuracies": accuracies}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
