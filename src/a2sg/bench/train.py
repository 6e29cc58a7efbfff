"""A training step of a network at CIFAR size: ours, observed or not, and SpikingJelly's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a2sg.bench import report
from a2sg.bench.networks import NETWORKS
from a2sg.bench.options import CLASSES, IMAGE, Options
from a2sg.bench.peers import spikingjelly_bindings
from a2sg.bench.timing import interleave
from a2sg.kernels.backends import fastest
from a2sg.memory import pack_spikes
from a2sg.neuron import SpikingNeuron
from a2sg.training.graphs import GraphedStep
from a2sg.training.recorder import CudaRecorder, Recorder
from a2sg.window import AdaptiveWindows

ORDINARY, OBSERVED = "a2sg", "a2sg observed"
GRAPHS, OBSERVED_GRAPHS = "a2sg CUDA graphs", "a2sg observed CUDA graphs"
BASELINE, TRITON = "SpikingJelly torch", "SpikingJelly Triton"
RECORDED = (GRAPHS, OBSERVED_GRAPHS, "a2sg packed CUDA graphs")
ON_A_GPU = (*RECORDED, TRITON)
BESIDE = {OBSERVED: ORDINARY, OBSERVED_GRAPHS: GRAPHS}
"""What an observed way is compared with."""
NEVER = 2**31
IN_WORDS = {"32": "float32", "bf16": "bfloat16 by autocast"}
"""Description of the number format, by `Options.precision`."""

NOTHING: AbstractContextManager[Any] = nullcontext()
Step = Callable[[], object]


def measure(options: Options) -> report.Report:
    """One row per way to train."""
    notes = [check(options)] if "spikingjelly" in options.peers else []
    steps = {name: WAYS[name](options, options.steps) for name in chosen(options)}
    title = f"train, {options.network}"
    timings = interleave(steps, options.rounds, 0.0, options.device, title)
    baseline = baseline_of(timings)
    rows: list[dict[str, Any]] = [
        {
            "network": options.network,
            "way": name,
            "milliseconds": 1000 * timing.median,
            "images_per_second": options.batch / timing.median,
            "ratio": timing.speed(timings[baseline]),
            "ratio_to": baseline,
            "observed_to_ordinary": timings[BESIDE[name]].speed(timing)
            if BESIDE.get(name) in timings
            else None,
            "first_seconds": timing.first,
            "samples": timing.samples,
        }
        for name, timing in timings.items()
    ]
    return report.Report(
        title=f"Training step, {options.network} at width {options.width:g}: batch {options.batch}, "
        f"T = {options.steps}, {IMAGE} x {IMAGE}, {IN_WORDS[options.precision]}",
        columns=(
            report.Column("way", "way"),
            report.Column("milliseconds", "ms", ".1f"),
            report.Column("images_per_second", "images a second", ".1f"),
            report.Column("ratio", f"speed, ratio to {baseline}", ".2f"),
            report.Column("observed_to_ordinary", "observed to ordinary, time", ".2f"),
            report.Column("first_seconds", "first step, s", ".1f"),
        ),
        rows=rows,
        notes=[
            f"Medians over {options.rounds} interleaved rounds; forward, backward, SGD with momentum and, in "
            "a2sg, windows.step(). Observed: every layer and step is searched in every iteration. Packed: "
            "under a2sg.memory.pack_spikes(). Network compiled: torch.compile of the whole network; neurons "
            "compiled: of each neuron alone.",
            *notes,
        ],
        figure=report.bars(
            {title: {row["way"]: row["ratio"] for row in rows}}, f"speed, ratio to {baseline}"
        ),
    )


def chosen(options: Options) -> list[str]:
    """The ways in `options.ways` whose library and device are available."""
    there = [name for name in options.ways if name.startswith(ORDINARY) or "spikingjelly" in options.peers]
    return [name for name in there if name not in ON_A_GPU or options.device == "cuda"]


def baseline_of(names: Collection[str]) -> str:
    """The baseline of the ratios: SpikingJelly, else our ordinary step, else the first."""
    return next((name for name in (BASELINE, ORDINARY) if name in names), next(iter(names)))


def check(options: Options, their_reset: str | None = None) -> str:
    """Compare both libraries' networks in float64: logits, and gradients of the first weights.

    Args:
        options: what is measured.
        their_reset: of SpikingJelly's network, if not the same.

    Raises:
        RuntimeError: if they are not the same function.
    """
    from spikingjelly.activation_based import functional

    torch.manual_seed(0)
    network = NETWORKS[options.network]
    ours = network.ours(options, options.steps).double()
    theirs = network.spikingjelly(ours, their_reset or options.reset).double()
    images, labels = _data(options, batch=2)
    found = []
    for model in (ours, theirs):
        functional.reset_net(model)
        logits = model(images.double().cpu())
        _loss(logits, labels.cpu()).backward()
        found.append((logits.detach(), next(model.parameters()).grad))
    for mine, other in zip(*found, strict=True):
        assert mine is not None
        assert other is not None
        error = ((mine - other).norm() / mine.norm()).item()
        if not error < 1e-6:
            raise RuntimeError(
                f"SpikingJelly's {options.network} is not the same function as a2sg's: {error:.2g}"
            )
    return "Before timing, both networks were checked in float64 to have the same logits and gradients."


def ours(
    options: Options,
    steps: int,
    *,
    observed: bool = False,
    packed: bool = False,
    compiled: bool = False,
    graphs: bool = False,
) -> Step:
    """Our training step: observed in every iteration, packed, compiled whole, or as CUDA graphs."""
    torch.manual_seed(0)
    model = NETWORKS[options.network].ours(options, steps).to(options.device)
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.backend = fastest(options.device)  # at once, not only when compiling pays off
    windows = AdaptiveWindows(model, every=1 if observed else NEVER, start=0 if observed else NEVER)
    run = torch.compile(model) if compiled else model
    # As `a2sg train --memory packed`: on a GPU without reading values.
    forward = pack_spikes(search=options.device == "cpu") if packed else NOTHING
    return _step(run, model, options, windows.step, forward, CudaRecorder() if graphs else None)


def spikingjelly(
    options: Options, steps: int, *, neurons: bool = False, whole: bool = False, kernels: str = "torch"
) -> Step:
    """SpikingJelly's, with each neuron or the whole network compiled; on a GPU with its kernels of a name."""
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.neuron import LIFNode

    torch.manual_seed(0)
    both = NETWORKS[options.network]
    model = both.spikingjelly(both.ours(options, steps), options.reset).to(options.device)
    if neurons:
        # All nodes share one code object, of which Dynamo compiles 8 versions and then gives up.
        torch._dynamo.config.recompile_limit = 64
        for module in model.modules():
            if isinstance(module, LIFNode):
                module.compile(dynamic=False)
    network = torch.compile(model, dynamic=False) if whole else model
    bind = spikingjelly_bindings()[kernels] if options.device == "cuda" else None

    def run(images: Tensor) -> Any:
        if bind is not None:
            bind()  # another way may have chosen other kernels
        return network(images)

    return _step(run, model, options, lambda: functional.reset_net(model))


WAYS: dict[str, Callable[[Options, int], Step]] = {
    ORDINARY: ours,
    OBSERVED: lambda options, steps: ours(options, steps, observed=True),
    "a2sg packed": lambda options, steps: ours(options, steps, packed=True),
    GRAPHS: lambda options, steps: ours(options, steps, graphs=True),
    OBSERVED_GRAPHS: lambda options, steps: ours(options, steps, observed=True, graphs=True),
    "a2sg packed CUDA graphs": lambda options, steps: ours(options, steps, packed=True, graphs=True),
    "a2sg network compiled": lambda options, steps: ours(options, steps, compiled=True),
    BASELINE: spikingjelly,
    TRITON: lambda options, steps: spikingjelly(options, steps, kernels="triton"),
    "SpikingJelly neurons compiled": lambda options, steps: spikingjelly(options, steps, neurons=True),
    "SpikingJelly network compiled": lambda options, steps: spikingjelly(options, steps, whole=True),
}
"""Training steps by name, for options and T."""


def _step(
    run: Callable[..., Any],
    model: nn.Module,
    options: Options,
    after: Callable[[], object],
    forward: AbstractContextManager[Any] = NOTHING,
    recorder: Recorder | None = None,
) -> Step:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images, labels = _data(options, options.batch)
    mixed = torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16")

    def compute(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = run(images)
        return logits, _loss(logits, labels)

    losses = compute if recorder is None else GraphedStep(model, compute, recorder)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with forward, mixed:
            _, loss = losses(images, labels)
        loss.backward()
        optimizer.step()
        after()

    return step


def _data(options: Options, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, IMAGE, IMAGE, generator=generator)
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    return images.to(options.device), labels.to(options.device)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the mean logits over time; logits `[T, B, classes]`."""
    return F.cross_entropy(logits.mean(0).to(torch.promote_types(logits.dtype, torch.float32)), labels)
