"""Sums of δ at every candidate window (method, section 5): three ways to fill one table `[C, 6]`.

- `binned`: one pass, whatever the number of candidates; windowed affine shapes, spike path.
- `blocked`: one pass over the data in small blocks, all candidates at each; any shape, any gradient.
- `each`: one full evaluation per candidate, as the research code does it.

All take what one layer at one step showed, and the candidates, ascending. Sums add up over blocks of data,
micro-batches and ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.surrogate import WindowedAffine

BLOCK = 4096
"""Elements of a block: with 100 candidates the block's work fits a core's cache."""

CANCELLED = 1e-8
"""Share of a sum's terms below which their difference is no longer good to 1e-6 in float64."""


class Sums(IntEnum):
    """Columns of a row of sums, all float64."""

    COUNT = 0
    DELTA = 1
    """Σδ"""
    ABS = 2
    """Σ|δ|"""
    SQUARE = 3
    """Σδ²"""
    CROSS = 4
    """Σ r δ, with r the gradient of the step after"""
    LATER = 5
    """Σ r²"""


def sums_of(delta: Tensor, later: Tensor | None = None) -> Tensor:
    """The row of sums of `delta` `[6]`, summed in float64; `later` is r, of the same shape (None: 0)."""
    wide = delta.double()
    zero = wide.new_zeros(())
    r = None if later is None else later.double()
    return torch.stack(
        [
            torch.full_like(zero, delta.numel()),
            wide.sum(),
            wide.abs().sum(),
            (wide * wide).sum(),
            zero if r is None else (wide * r).sum(),
            zero if r is None else (r * r).sum(),
        ]
    )


class Observation(NamedTuple):
    """What a backward pass showed of one layer at one step; all tensors `[B, ...]`."""

    gate: Gate
    """Thresholds and surrogate."""
    potential: Tensor
    """u, before the reset."""
    upstream: Tensor
    """dL/ds."""
    carry: Tensor | None = None
    """The part of dL/du that does not depend on the window; None leaves it out."""
    later: Tensor | None = None
    """r, the gradient of the step after; None at the last step."""


Fill = Callable[[Observation, Tensor], Tensor]
"""A way to the table of sums `[C, 6]`, float64, from an observation and candidates `[C]`, ascending."""


def one_pass(seen: Observation, candidates: Tensor) -> Tensor:
    """`binned` where it applies, else `blocked`."""
    affine = isinstance(seen.gate.surrogate, WindowedAffine) and len(seen.gate.thresholds) == 1
    fill = binned if affine and seen.carry is None else blocked
    return fill(seen, candidates)


def each(seen: Observation, candidates: Tensor) -> Tensor:
    """Evaluate the whole local gradient once per candidate."""
    u, g = seen.potential.double(), seen.upstream.double()
    rows = []
    for window in candidates:
        delta = g * seen.gate.derivative(u, window)
        rows.append(sums_of(delta if seen.carry is None else delta + seen.carry, seen.later))
    return torch.stack(rows)


def blocked(seen: Observation, candidates: Tensor) -> Tensor:
    """Take each block of data once, with all candidates side by side `[C, block]`."""
    windows = candidates[:, None]
    u, g = seen.potential.flatten(), seen.upstream.flatten()
    c = None if seen.carry is None else seen.carry.flatten()
    r = None if seen.later is None else seen.later.flatten()
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=u.device)
    for start in range(0, u.numel(), BLOCK):
        at = slice(start, start + BLOCK)
        delta = g[at].double() * seen.gate.derivative(u[at].double(), windows)
        if c is not None:
            delta = delta + c[at].double()
        table[:, Sums.COUNT] += delta.shape[1]
        table[:, Sums.DELTA] += delta.sum(1)
        table[:, Sums.ABS] += delta.abs().sum(1)
        table[:, Sums.SQUARE] += (delta * delta).sum(1)
        if r is not None:
            block = r[at].double()
            table[:, Sums.CROSS] += delta @ block
            table[:, Sums.LATER] += block @ block
    return table


def binned(seen: Observation, candidates: Tensor) -> Tensor:
    """Sort the data into the gaps between candidates once; running sums of moments give every window.

    With f = p + q·y inside the window, Σδ = p Σg + q Σgy, and so on for the other sums.
    """
    shape, later = seen.gate.surrogate, seen.later
    assert isinstance(shape, WindowedAffine)
    assert seen.carry is None
    distance = seen.potential.flatten().double() - seen.gate.thresholds[0]
    gap = torch.bucketize(distance.abs(), candidates)  # the first candidate that holds the element
    y = shape.ordinate(distance)
    g = seen.upstream.flatten().double()
    size = g.abs()
    square = g * g
    moments = [g, g * y, size, size * y, square, square * y, square * y * y]
    if later is not None:
        cross = g * later.flatten().double()
        moments += [cross, cross * y]
    inside = torch.stack(
        [torch.bincount(gap, weights=m, minlength=len(candidates) + 1)[:-1].cumsum(0) for m in moments]
    )
    p, q = shape.coefficients(candidates)
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=g.device)
    table[:, Sums.COUNT] = g.numel()
    table[:, Sums.DELTA] = p * inside[0] + q * inside[1]
    table[:, Sums.ABS] = p * inside[2] + q * inside[3]
    table[:, Sums.SQUARE] = p * p * inside[4] + 2 * p * q * inside[5] + q * q * inside[6]
    if later is not None:
        table[:, Sums.CROSS] = p * inside[7] + q * inside[8]
        table[:, Sums.LATER] = (later.double() ** 2).sum()
    # 0 · Σg is 0, or NaN if any gradient is not finite, in a window or outside: as δ itself would be.
    table[:, Sums.DELTA :] += 0 * g.sum()
    # Where f all but vanishes on every element of a window, the moments cancel to nothing but rounding.
    doubtful = table[:, Sums.SQUARE] < CANCELLED * (p * p * inside[4])
    if doubtful.any():
        table[doubtful] = blocked(seen, candidates[doubtful])
    return table
