"""Sums of δ for many shapes at many windows, from one pass over the data.

Like `a2sg.kernels.sums.binned`, but for all shapes at once: inside its window a windowed affine f is p + q·x
from the threshold on, and p + q·x or p - q·x below it. So moments are kept for either side of the threshold.
Other shapes are summed window by window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.adopt.gates import Multiples
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import CANCELLED, Observation, Sums, blocked, one_step
from a2sg.surrogate import Surrogate, WindowedAffine

BLOCK = 2**15
"""Elements of a block: its temporaries stay in a core's cache."""

Powers = tuple[Tensor, ...]
"""Σw, Σwx, Σwx² … of a weight w, each `[2, W]`: below the threshold, and from it on."""


class Moments(NamedTuple):
    """Moments of x = u - threshold over the elements inside each of W windows."""

    gradient: Powers
    """Of g = dL/ds, up to the power x."""
    size: Powers
    """Of |g|, up to x."""
    square: Powers
    """Of g², up to x²."""
    cross: Powers
    """Of r·g, up to x, with r the δ of the next step; 0 at the last step."""


class Tables(NamedTuple):
    """The results of one pass over a layer, all sums, float64."""

    histogram: Tensor
    """Elements by x `[2E + 2]`: below the lowest edge, between the edges, from the highest on."""
    held: Tensor
    """Elements inside each window `[W]`."""
    delta: Tensor
    """Rows of sums of δ = g·f, per shape and window `[S, W, 6]`; NaN where there are none.

    There are none for windows that overlap, and for an unbounded shape with endlessly many thresholds.
    """
    value: Tensor
    """The same for f itself: g is 1."""


def gather(
    layer: Observation, shapes: Sequence[Surrogate], edges: Tensor, candidates: int, window: Tensor
) -> Tables:
    """The sums of one layer and step, from one pass, with S shapes.

    The histogram has the edges, ascending `[E]` float64, on either side of the threshold. Windows are as many
    `candidates` of them, from the first, and last the window in use, 0-d float64: W in all.
    """
    x = nearest(layer.gate, layer.potential.double()).flatten()
    bins, order = _binned(x, layer, torch.cat([edges, window[None]]))
    inside = torch.empty_like(bins[..., 1:])
    inside[..., order] = bins[..., :-1].cumsum(-1)
    counts = torch.cat([inside[0, :, :-1], bins[0].sum(-1, keepdim=True)], -1)
    below, above = counts.diff(prepend=counts.new_zeros(2, 1))

    taken = torch.cat([torch.arange(candidates), torch.tensor([-1])])
    rows = inside[..., taken.to(inside.device)].unbind()
    windows = torch.cat([edges[:candidates], window[None]])
    overlap = torch.where(windows <= reach(layer.gate), 0.0, torch.nan)[:, None]
    ones = rows[0:3]
    moments = Moments(rows[3:5], rows[5:7], rows[7:10], rows[10:12])
    # With every arriving gradient 1, δ is f.
    flat = layer._replace(upstream=torch.ones_like(layer.upstream), later=None)
    delta, value = (
        torch.stack([_sums(seen, shape, windows, found) for shape in shapes]) + overlap
        for seen, found in ((layer, moments), (flat, Moments(ones, ones, ones, ones)))
    )
    return Tables(torch.cat([below.flip(0), above]), ones[0].sum(0), delta, value)


def nearest(gate: Gate, potential: Tensor) -> Tensor:
    """The distance to the nearest threshold; half-way between two, to the lower one."""
    if isinstance(gate, Multiples):
        level = (potential / gate.threshold - 0.5).ceil().clamp(1, gate.most or math.inf)
        return potential - level * gate.threshold
    thresholds = torch.tensor(gate.thresholds, dtype=potential.dtype, device=potential.device)
    if len(thresholds) == 1:
        return potential - thresholds
    middles = (thresholds[1:] + thresholds[:-1]) / 2
    return potential - thresholds[torch.bucketize(potential.contiguous(), middles)]


def first(gate: Gate, potential: Tensor) -> Tensor:
    """The distance to the first threshold."""
    return potential - (gate.threshold if isinstance(gate, Multiples) else gate.thresholds[0])


def several(gate: Gate) -> bool:
    """Whether there is more than one threshold."""
    return isinstance(gate, Multiples) or len(gate.thresholds) > 1


def reach(gate: Gate) -> float:
    """The widest window at which those of neighbouring thresholds do not overlap."""
    if isinstance(gate, Multiples):
        return float(torch.as_tensor(gate.threshold).min()) / 2
    gaps = [b - a for a, b in zip(gate.thresholds, gate.thresholds[1:], strict=False)]
    return min(gaps, default=math.inf) / 2


def levels(gate: Gate, potential: Tensor) -> Tensor:
    """Spikes of a step, as the gate makes them."""
    if isinstance(gate, Multiples):
        return (potential / gate.threshold).floor().clamp(0, gate.most or math.inf)
    return gate.fire(potential)


def _binned(x: Tensor, layer: Observation, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The 12 rows of moments in the gaps between windows `[12, 2, W + 1]`, and which window ends each gap."""
    merged, order = windows.sort(stable=True)
    bins = len(merged) + 1
    total = torch.zeros(12, 2 * bins, dtype=torch.float64, device=x.device)
    upstream = layer.upstream.flatten()
    later = None if layer.later is None else layer.later.flatten()
    for start in range(0, x.numel(), BLOCK):
        at = slice(start, start + BLOCK)
        y, g = x[at], upstream[at].double()
        place = torch.bucketize(y.abs(), merged)  # the smallest window that contains the element
        place += bins * (y >= 0)
        size, square = g.abs(), g * g
        weights = [None, y, y * y, g, g * y, size, size * y, square, square * y, square * (y * y)]
        if later is not None:
            cross = g * later[at].double()
            weights += [cross, cross * y]
        for row, weight in enumerate(weights):
            total[row] += torch.bincount(place, weight, minlength=2 * bins)
    return total.view(12, 2, bins), order


def _sums(layer: Observation, shape: Surrogate, windows: Tensor, moments: Moments) -> Tensor:
    """Rows of sums of δ = g·f `[W, 6]`, from moments if these suffice, else window by window."""
    if not isinstance(shape, WindowedAffine):
        return _one_by_one(layer, shape, windows)
    p, q = shape.coefficients(windows)
    q = torch.stack([-q if shape.symmetric else q, q])  # on either side of the threshold
    table = torch.zeros(len(windows), len(Sums), dtype=torch.float64, device=windows.device)
    table[:, Sums.COUNT] = layer.upstream.numel()
    linear = {Sums.DELTA: moments.gradient, Sums.ABS: moments.size}
    linear |= {} if layer.later is None else {Sums.CROSS: moments.cross}
    for column, powers in linear.items():
        table[:, column] = (p * powers[0] + q * powers[1]).sum(0)
    ones, firsts, squares = moments.square
    table[:, Sums.SQUARE] = (p * p * ones + 2 * p * q * firsts + q * q * squares).sum(0)
    if layer.later is not None:
        table[:, Sums.LATER] = layer.later.double().square().sum()
    # Again where f almost vanishes on the elements inside: there the moments cancel to rounding.
    doubtful = table[:, Sums.SQUARE] < CANCELLED * (p * p * moments.square[0].sum(0))
    if doubtful.any():
        table[doubtful] = _one_by_one(layer, shape, windows[doubtful])
    return table


def _one_by_one(layer: Observation, shape: Surrogate, windows: Tensor) -> Tensor:
    """The rows of sums of δ, window by window `[W, 6]`."""
    if isinstance(layer.gate, Multiples) and not shape.bounded:
        return torch.full((len(windows), len(Sums)), torch.nan, dtype=torch.float64, device=windows.device)
    return one_step(blocked, layer._replace(gate=replace(layer.gate, surrogate=shape)), windows)
