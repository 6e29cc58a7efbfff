"""What the host does in a training step: ours against the same network with ReLU and plain batch norm.

    python benchmarks/host_time.py [--networks resnet19,vgg16,spikformer_4_384] [--image 32] [--rounds 15]
        [--out FOLDER]

Tensors are tiny (width 1/16, batch 2), so that a step is host time alone: what a GPU would wait for. The twin
has ReLU where ours has neurons, torch's batch norm, and T folded into the batch. Times are of the
processor, on one thread, so that a busy machine does not count; ratios are of pairs in a round. Also counted:
calls of our own Python, and operations that reach torch's dispatcher.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from host_calls import calls
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import a2sg
from a2sg.bench.report import Column, machine, markdown, provenance
from a2sg.bench.timing import interleave
from a2sg.files import write_json, write_text
from a2sg.models.attention import SelfAttention, SpikeProduct
from a2sg.models.blocks import ResidualChain
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.residual import ConvNorm, Residual
from a2sg.neuron import SpikingNeuron

BATCH, STEPS = 2, 4
SIZES: dict[str, dict[str, Any]] = {
    "resnet19": {"width": 1 / 16},
    "vgg16": {"width": 1 / 16},
    "spikformer_4_384": {"dim": 24},
}
"""The networks, and what makes them a sixteenth as wide."""
NEVER = 2**31
ORDINARY, OBSERVED, TWIN = "a2sg", "a2sg observed", "ReLU twin"
COLUMNS = (
    Column("network", "network"),
    Column("way", "step"),
    Column("milliseconds", "host ms", ".2f"),
    Column("ratio", f"to {TWIN}", ".2f"),
    Column("calls", "calls of ours", ",d"),
    Column("operations", "torch operations", ",d"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(SIZES))
    parser.add_argument("--image", type=int, default=32, help="height and width (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--backend", choices=["reference", "compiled"], default="compiled")
    parser.add_argument("--out", type=Path, help="folder for host_time.json and host_time.md")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for network in chosen.networks.split(",") for row in measure(network, chosen)]
    facts = {**machine("cpu"), "peers": {}, **vars(chosen), "out": None}
    page = f"{markdown(COLUMNS, rows)}\n\n{provenance(facts)}"
    print(page)
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        write_json(chosen.out / "host_time.json", {**facts, "rows": rows})
        write_text(chosen.out / "host_time.md", f"# Host time of a training step\n\n{page}\n")


def measure(network: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per way to train."""
    image = chosen.image

    def ours() -> nn.Module:
        return spiking(network, image, chosen.backend)

    steps = {
        ORDINARY: step(ours(), image, every=NEVER),
        OBSERVED: step(ours(), image, every=1),
        TWIN: step(twin(ours()), image),
    }
    timings = interleave(steps, chosen.rounds, 0.05, "cpu", network, clock=time.process_time)
    return [
        {
            "network": network,
            "way": name,
            "milliseconds": 1000 * timing.median,
            "ratio": timings[TWIN].speed(timing),
            "calls": len(calls(steps[name])),
            "operations": operations(steps[name]),
            "samples": timing.samples,
        }
        for name, timing in timings.items()
    ]


def spiking(network: str, image: int, backend: str) -> nn.Module:
    """Our network, its neurons by a backend from the first step on."""
    torch.manual_seed(0)
    model = a2sg.create_model(network, steps=STEPS, image_size=image, **SIZES[network])
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.backend = backend  # type: ignore[assignment]
    return model


def step(model: nn.Module, image: int, every: int | None = None) -> Callable[[], object]:
    """Forward, backward, SGD with momentum and, with `every`, a step of the windows."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(BATCH, 3, image, image, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH)
    windows = a2sg.AdaptiveWindows(model, every=every, start=every % NEVER) if every else None

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images).view(STEPS, BATCH, -1).mean(0), labels).backward()
        optimizer.step()
        if windows is not None:
            windows.step()

    return run


class Folded(nn.Module):
    """Images `[B, C, H, W]` as `[T · B, C, H, W]`."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(STEPS, *images.shape).flatten(0, 1)


class FoldedProduct(SpikeProduct):
    """As `SpikeProduct`, of `[T · B, C, H, W]`."""

    def per_head(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (x.flatten(2).unflatten(1, (self.heads, -1)) for x in (query, key, value))
        return q, k, v


def twin(module: nn.Module) -> nn.Module:
    """A network of ours with ReLU in place of neurons and plain batch norm, T folded into the batch."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*map(twin, module))
    if isinstance(module, Residual):
        return Residual(twin(module.branch), twin(module.shortcut), twin(module.neuron))
    if isinstance(module, ResidualChain):
        return ResidualChain({name: twin(branch) for name, branch in module.items()})
    if isinstance(module, SelfAttention):
        query, key, value = (twin(layer) for layer in (module.query, module.key, module.value))
        product = FoldedProduct(module.product.heads, module.product.scale)
        return SelfAttention(query, key, value, product, twin(module.neuron), twin(module.projection))
    if isinstance(module, SpikingLayer | ConvNorm):
        kind = nn.BatchNorm2d if isinstance(module.synapse, nn.Conv2d) else nn.BatchNorm1d
        after = [nn.ReLU()] if isinstance(module, SpikingLayer) else []
        return nn.Sequential(module.synapse, kind(module.norm.bn.num_features), *after)
    if isinstance(module, SpikingNeuron):
        return nn.ReLU()
    if isinstance(module, PerStep):
        return module.layer
    if isinstance(module, nn.Flatten):
        return nn.Flatten(1)
    if isinstance(module, Frames):
        return Folded()
    return module


def operations(run: Callable[[], object]) -> int:
    """How many operations reach torch's dispatcher while `run` runs."""
    with _Count() as count:
        run()
    return count.found


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found += 1
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    main()
