"""Forward and backward of one LIF layer, next to other libraries' layers and the machine's copy bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from a2sg.bench import peers, report
from a2sg.bench.options import DECAY, THRESHOLD, Options
from a2sg.bench.peers import Layer
from a2sg.bench.timing import Timing, first_call, interleave
from a2sg.errors import InputError
from a2sg.kernels.backends import fastest
from a2sg.neuron import LIF
from a2sg.surrogate import Asymmetric, Surrogate, Triangle

COPY = "copy of x"
LARGE = 2**27
"""Bytes to copy in order to measure the memory's bandwidth: more than caches hold."""
MEMORY = f"copy of {LARGE >> 20} MiB"
COPY_PASSES = 2
BATCH = 16
PASSES = 5
"""Times a fused layer must touch T·N elements: read x, write s; read dL/ds and x, write dL/dx."""
SHAPE = Triangle()
BASELINES = ("SpikingJelly torch", "a2sg reference")
"""Baselines of the ratios: the first of these that was measured, else the first layer."""
OURS = "a2sg"
"""Prefix of the names of our layers, which must give the reference's spikes."""
OTHER_SHAPE = "asymmetric"
"""Suffix of the name of a layer with another surrogate, and so another gradient."""


def measure(options: Options) -> report.Report:
    """One row per size and layer."""
    rows: list[dict[str, Any]] = []
    panels: dict[str, dict[str, float]] = {}
    limits: dict[str, float] = {}
    apart: dict[str, list[float]] = {}
    large = copy(torch.zeros(LARGE // 4, device=options.device))
    for elements in options.elements:
        x, grad = example(elements, options)
        layers, skipped = our_layers(options, x)
        layers |= peers.lif_layers(options)
        agreement = agree(layers, lif(options, "reference"), x, grad)
        for name, found in agreement.items():
            apart.setdefault(name, []).append(found["same_spikes"])
        calls = {name: step(layer, x, grad) for name, layer in layers.items()}
        calls |= {COPY: copy(x.detach()), MEMORY: large}
        title = f"lif, {elements:,} elements a step"
        timings = interleave(calls, options.rounds, options.sample, options.device, title)
        fresh = _rows(elements, x, timings, agreement)
        rows += fresh
        panel = f"{elements:,} elements a step"
        panels[panel] = {row["layer"]: row["ratio"] for row in fresh if row["ratio"]}
        limits[panel] = fresh[0]["ratio"] / fresh[0]["memory_share"]
    baseline = rows[0]["ratio_to"]
    return report.Report(
        title=f"LIF layer, forward and backward: T = {options.steps}, {options.dtype}, {options.reset} reset",
        columns=(
            report.Column("elements", "elements a step", ",d"),
            report.Column("layer", "layer"),
            report.Column("milliseconds", "ms", ".3f"),
            report.Column("million_per_second", "elements · steps a second, millions", ",.1f"),
            report.Column("ratio", f"speed, ratio to {baseline}", ".2f"),
            report.Column("memory_share", "share of the memory's bandwidth", ".2f"),
            report.Column("copy_share", "share of a copy's bandwidth", ".2f"),
            report.Column("gigabytes_per_second", "GB/s copied", ".1f"),
            report.Column("same_spikes", "same spikes as a2sg", ".2%"),
            report.Column("first_seconds", "first call, s", ".2f"),
        ),
        rows=rows,
        notes=[
            f"Medians over {options.rounds} interleaved rounds. Every layer has decay {DECAY:g}, threshold "
            f"{THRESHOLD:g} and, where not named otherwise, a triangle of half-width 1 as surrogate "
            "(snnTorch: its arctangent). Before timing, a2sg's layers were checked to give the same spikes, "
            "and the same gradients where the surrogate is the same.",
            *differing(apart),
            f"A fused layer touches an element {PASSES} times: forward reads x and writes s, backward reads "
            "dL/ds and x and writes dL/dx. The shares are what such a layer takes at the speed of a copy, "
            f"measured in the same rounds, over what this one takes: the memory's is a copy of {LARGE >> 20} "
            "MiB (the dotted line of the picture), the other a copy of x, which may stay in a cache.",
            *skipped,
        ],
        figure=report.bars(panels, f"speed, ratio to {baseline}", limits),
    )


def example(elements: int, options: Options) -> tuple[Tensor, Tensor]:
    """An input current `[T, B, N / B]` under which about a quarter of the neurons fire, and dL/ds."""
    generator = torch.Generator().manual_seed(0)
    batch = math.gcd(BATCH, elements)
    shape = (options.steps, batch, elements // batch)
    dtype = getattr(torch, options.dtype)
    x = (torch.randn(shape, generator=generator) * 0.7 + 0.4).to(options.device, dtype)
    grad = torch.randn(shape, generator=generator).to(options.device, dtype)
    return x.requires_grad_(), grad


def lif(options: Options, backend: str, surrogate: Surrogate = SHAPE) -> LIF:
    """Our neuron, with the equations to which all libraries are set."""
    return LIF(
        options.steps,
        decay=DECAY,
        threshold=THRESHOLD,
        reset=options.reset,  # type: ignore[arg-type]
        surrogate=surrogate,
        backend=backend,  # type: ignore[arg-type]
    ).to(options.device)


def our_layers(options: Options, x: Tensor) -> tuple[dict[str, Layer], list[str]]:
    """Our layer by each backend that runs here, and a note on each that does not."""
    layers: dict[str, Layer] = {}
    skipped = []
    for backend in options.backends:
        layer = lif(options, backend)
        try:
            layer(x.detach())
        except InputError as error:
            skipped.append(f"Not measured: {error}.")
            continue
        layers[f"a2sg {backend}"] = layer
    if layers:
        layers["a2sg asymmetric"] = lif(options, fastest(options.device), Asymmetric())
    return layers, skipped


def step(layer: Layer, x: Tensor, grad: Tensor) -> Callable[[], object]:
    """Forward and backward; the gradient of the call before is dropped, not added to."""

    def call() -> None:
        x.grad = None
        layer(x).backward(grad)

    return call


def copy(x: Tensor) -> Callable[[], object]:
    """A function that copies `x` to memory allocated before."""
    target = torch.empty_like(x)
    return lambda: target.copy_(x)


def agree(
    layers: Mapping[str, Layer], reference: Layer, x: Tensor, grad: Tensor
) -> dict[str, dict[str, float]]:
    """Share of equal spikes and relative error of the gradient, against the reference; and the seconds of
    this first call.

    Other libraries may round differently, above all in low precision, and spikes at a threshold then differ.

    Raises:
        RuntimeError: if a layer of ours does not agree: its time would mean nothing.
    """
    rounding = 1e-5 if x.dtype == torch.float32 else 1e-2
    spikes, gradient = _outcome(reference, x, grad)
    found = {}
    for name, layer in layers.items():
        (s, g), seconds = first_call(
            lambda layer=layer: _outcome(layer, x, grad),  # type: ignore[misc]
            x.device.type,
        )
        same = (s == spikes).float().mean().item()
        error = ((g - gradient).norm() / gradient.norm()).item()
        other_shape = name.endswith(OTHER_SHAPE)
        found[name] = {"same_spikes": same, "first_seconds": seconds}
        if not other_shape:
            found[name]["gradient_error"] = error
        if name.startswith(OURS) and (same < 1 or not (other_shape or error < rounding)):
            raise RuntimeError(f"{name} does not agree with a2sg's reference: {found[name]}")
    return found


def differing(shares: Mapping[str, list[float]]) -> list[str]:
    """A note on the layers whose spikes are not all the reference's, with the least share over all sizes."""
    found = [f"{name} {min(all_sizes):.2%}" for name, all_sizes in shares.items() if min(all_sizes) < 1]
    return [f"Spikes that are the same as a2sg's, where not all are: {', '.join(found)}."] if found else []


def _outcome(layer: Layer, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone().requires_grad_()
    spikes = layer(leaf)
    spikes.backward(grad)
    assert leaf.grad is not None
    return spikes.detach(), leaf.grad.float()


def _rows(
    elements: int, x: Tensor, timings: Mapping[str, Timing], agreement: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    baseline = next((name for name in BASELINES if name in timings), next(iter(timings)))
    mine = x.numel() * x.element_size()
    copied = {COPY: mine, MEMORY: LARGE}

    def share(timing: Timing, of: str) -> float:
        """Time at the bandwidth of a copy, over the measured time."""
        return (PASSES * mine) / (COPY_PASSES * copied[of]) * timing.speed(timings[of])

    rows: list[dict[str, Any]] = []
    for name, timing in timings.items():
        row: dict[str, Any] = {"elements": elements, "layer": name, "milliseconds": 1000 * timing.median}
        if name in copied:
            row |= {
                "ratio": None,
                "gigabytes_per_second": COPY_PASSES * copied[name] / timing.median / 1e9,
            }
        else:
            row |= {
                "million_per_second": x.numel() / timing.median / 1e6,
                "ratio": timing.speed(timings[baseline]),
                "ratio_to": baseline,
                "memory_share": share(timing, MEMORY),
                "copy_share": share(timing, COPY),
                **agreement[name],
            }
        rows.append(row | {"samples": timing.samples})
    return rows
