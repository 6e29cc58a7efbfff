"""What it costs that broken numbers are seen: pairs in one process, in turns, by the CPU time of one thread.

    OMP_NUM_THREADS=1 python benchmarks/guard_cost.py [--rounds 25]

Two ratios of time with to time without: `StepGuard` around training steps, and the last spike that is NaN
where a potential is broken, in a LIF layer forward and backward.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import quantiles

import torch
from torch import Tensor, nn

import a2sg
from a2sg.bench.report import machine, provenance
from a2sg.kernels import compiled, reference

NETWORKS = {"mlp_small": 64, "vgg_small": 32, "resnet19": 4}
"""Samples of a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="pairs (default: %(default)s)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, size in NETWORKS.items():
        tell(
            f"StepGuard, {name}, batch {size}",
            training(name, size, True),
            training(name, size, False),
            rounds,
        )
    for backend in ("reference", "compiled"):
        tell(f"NaN at the last spike, LIF, {backend}", layer(backend, True), layer(backend, False), rounds)
    print(f"\n{provenance({**machine('cpu'), 'peers': {}})}")


def training(name: str, size: int, guarded: bool) -> Callable[[], object]:
    """A training step."""
    torch.manual_seed(0)
    net = a2sg.create_model(name, num_classes=10, steps=4, in_channels=3, image_size=16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    guard = a2sg.StepGuard(net)
    images, labels = torch.randn(size, 3, 16, 16), torch.arange(size) % 10

    def step() -> None:
        optimizer.zero_grad()
        if guarded:
            with guard:
                loss = nn.functional.cross_entropy(net(images).mean(0), labels)
        else:
            loss = nn.functional.cross_entropy(net(images).mean(0), labels)
        loss.backward()
        if guarded:
            guard.check(optimizer, loss.detach())
        optimizer.step()

    return step


def layer(backend: str, shown: bool) -> Callable[[], object]:
    """A LIF layer forward and backward, with the last spike as it is or as it was."""
    now = reference.Trace.output

    def before(trace: reference.Trace, dtype: torch.dtype) -> Tensor:
        return torch.stack(trace.spikes).to(dtype)

    output = now if shown else before
    neuron = a2sg.LIF(4, backend=backend)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(4, 16, 4096, generator=generator) * 0.7 + 0.4).requires_grad_()
    grad = torch.ones_like(x)
    compiled._forward.cache_clear()
    compiled._planned.cache_clear()

    def step() -> None:
        reference.Trace.output = output  # type: ignore[assignment, method-assign]
        try:
            for _ in range(8):
                neuron(x).backward(grad)
        finally:
            reference.Trace.output = now  # type: ignore[method-assign]

    step()  # compiles
    return step


def tell(what: str, this: Callable[[], object], other: Callable[[], object], rounds: int) -> None:
    """Print the ratio of times, the middle half of the pairs behind it."""
    for call in (this, other):
        call()
    ratios = [seconds(this) / seconds(other) for _ in range(rounds)]
    low, middle, high = quantiles(ratios, n=4)
    print(f"{what:44}  {middle:.3f}  ({low:.3f} .. {high:.3f})", flush=True)


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
