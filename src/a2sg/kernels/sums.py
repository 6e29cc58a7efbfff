"""Sums of δ at every candidate window (method, section 5): three ways in plain torch to fill a table.

- `binned`: one pass, whatever the number of candidates; windowed affine shapes, spike path, on a CPU.
- `blocked`: one pass over the data in blocks, all candidates at each; any shape, any gradient.
- `each`: one full evaluation per candidate, as in the research code.

All of them add the sums of some steps of a layer to a table `[K, C, 6]`. Sums add up over blocks of data,
micro-batches and ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.surrogate import WindowedAffine

BLOCK = 4096
"""Elements of a block on a CPU: with 100 candidates its temporaries fit in a core's cache."""

AT_ONCE = 2**24
"""Elements times steps times candidates of a block elsewhere: enough to fill a GPU, 128 MiB per temporary."""

TOGETHER = 2**16
"""Elements up to which summing several steps at once is faster than one at a time."""

CANCELLED = 1e-8
"""Share of a sum's terms below which their difference is no longer accurate to 1e-6 in float64."""


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
    """Σ r δ, where r is the gradient of the next step"""
    LATER = 5
    """Σ r²"""


def sums_of(delta: Tensor, later: Tensor | None = None) -> Tensor:
    """The row of sums of `delta` `[6]`, summed in float64; `later` is r, of the same shape (None: 0)."""
    return _rows(delta.reshape(1, -1), None if later is None else later.reshape(1, -1))[0]


class Observation(NamedTuple):
    """K steps of one layer, as a backward pass showed them; tensors `[K, B, ...]`."""

    gate: Gate
    """Thresholds and surrogate."""
    potential: Tensor
    """u before the reset, as the gate takes it."""
    upstream: Tensor
    """dL/ds."""
    carry: Tensor | None = None
    """The part of dL/du that does not depend on the window; None leaves it out."""
    later: Tensor | None = None
    """r, the gradients of the next steps `[R, B, ...]`: of the first R of K steps; for the others it is 0."""

    def steps(self, at: slice) -> Observation:
        """Some of the steps."""
        gate, u, g, c, r = self
        carry, later = None if c is None else c[at], None if r is None else r[at]
        return Observation(gate, u[at], g[at], carry, later)


Fill = Callable[[Observation, Tensor, Tensor], None]
"""Adds the sums of an observation at candidates `[K, C]` to a table `[K, C, 6]`.

Candidates are in any order; they and the table are float64 and on the device of the observation.
"""

Way = Callable[[Observation, Tensor], Tensor]
"""From an observation, in which all steps or none have a next step, and candidates to sums `[K, C, 6]`."""


def adding(way: Way) -> Fill:
    """A `Fill` that adds the sums which `way` returns."""

    @wraps(way)
    def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
        steps, known = len(seen.potential), 0 if seen.later is None else len(seen.later)
        most = max(1, TOGETHER * steps // max(1, seen.potential.numel()))
        for part, first, end in ((seen, 0, known), (seen._replace(later=None), known, steps)):
            for start in range(first, end, most):
                at = slice(start, min(start + most, end))
                table[at].add_(way(part.steps(at), candidates[at]))

    return fill


def one_step(fill: Fill, seen: Observation, candidates: Tensor) -> Tensor:
    """The sums `[C, 6]` of an observation of a single step, at candidates `[C]`."""
    table = candidates.new_zeros((1, len(candidates), len(Sums)))
    fill(seen, candidates[None], table)
    return table[0]


@adding
def each(seen: Observation, candidates: Tensor) -> Tensor:
    """Evaluate the whole local gradient once per candidate."""
    u, g, c, r = _flat(seen)
    u, g = u.double(), g.double()
    rows = []
    for windows in candidates.T:
        delta = g * seen.gate.derivative(u, windows[:, None, None])
        rows.append(_rows(delta if c is None else delta + c, r))
    return torch.cat(rows, 1)


@adding
def blocked(seen: Observation, candidates: Tensor) -> Tensor:
    """Read each block of data once, for all candidates together `[K, C, block]`."""
    u, g, c, r = _flat(seen)
    size = BLOCK if u.device.type == "cpu" else max(BLOCK, AT_ONCE // candidates.numel())
    table = candidates.new_zeros((*candidates.shape, len(Sums)))
    for start in range(0, u.shape[-1], size):
        at = (..., slice(start, start + size))
        delta = g[at].double() * seen.gate.derivative(u[at].double(), candidates[..., None])
        table += _rows(delta if c is None else delta + c[at], None if r is None else r[at])
    return table


class Edge(NamedTuple):
    """A threshold, as the elements of `[K, N]` see it."""

    distance: Tensor
    """Potential minus threshold `[K, N]`."""
    lower_edge: bool = True
    """Whether the lower edge of a window is inside it."""
    height: float = 1.0
    """By how much spikes rise there."""


Edges = Callable[[Tensor], Sequence[Edge]]
"""From potentials to all thresholds whose windows may hold them."""


@adding
def binned(seen: Observation, candidates: Tensor) -> Tensor:
    """`windowed`, with the thresholds of the gate."""
    gate = seen.gate

    def edges(potential: Tensor) -> list[Edge]:
        levels = zip(gate.thresholds, gate.heights, strict=True)
        return [Edge(potential - level, at == 0, height) for at, (level, height) in enumerate(levels)]

    return windowed(seen, candidates, edges)


def windowed(seen: Observation, candidates: Tensor, edges: Edges) -> Tensor:
    """Sort the data into the gaps between candidates once; running sums of moments give every window.

    With f = p + q·y inside the window, Σδ = p Σg + q Σgy, and so on for the other sums.
    """
    shape, later = seen.gate.surrogate, seen.later
    assert isinstance(shape, WindowedAffine)
    assert seen.carry is None
    u, g = seen.potential.flatten(1), seen.upstream.flatten(1)
    r = None if later is None else later.flatten(1)
    inside = candidates.new_zeros((7 if r is None else 9, *candidates.shape))
    for start in range(0, u.shape[1], TOGETHER):
        at = (..., slice(start, start + TOGETHER))
        block = g[at].double(), None if r is None else r[at].double()
        inside += _inside(edges(u[at].double()), *block, shape, candidates)
    table = candidates.new_zeros((*candidates.shape, len(Sums)))
    p, q = shape.coefficients(candidates)
    table[..., Sums.COUNT] = g.shape[1]
    table[..., Sums.DELTA] = p * inside[0] + q * inside[1]
    table[..., Sums.ABS] = p * inside[2] + q * inside[3]
    table[..., Sums.SQUARE] = p * p * inside[4] + 2 * p * q * inside[5] + q * q * inside[6]
    if r is not None:
        table[..., Sums.CROSS] = p * inside[7] + q * inside[8]
        table[..., Sums.LATER] = (r.double() ** 2).sum(1, keepdim=True)
    # 0 · Σg is 0, or NaN if any gradient is not finite, inside a window or not: as δ itself would be.
    table[..., Sums.DELTA :] += (0 * g.double().sum(1))[:, None, None]
    # Where f almost vanishes on every element of a window, the moments cancel and only rounding is left.
    doubtful = table[..., Sums.SQUARE] < CANCELLED * (p * p * inside[4])
    for k in doubtful.any(1).nonzero()[:, 0].tolist():
        again = table.new_zeros((1, int(doubtful[k].sum()), len(Sums)))
        blocked(seen.steps(slice(k, k + 1)), candidates[k, doubtful[k]][None], again)
        table[k, doubtful[k]] = again[0]
    return table


def _inside(
    edges: Sequence[Edge], g: Tensor, r: Tensor | None, shape: WindowedAffine, candidates: Tensor
) -> Tensor:
    """Moments over the elements inside each window `[7, K, C]`, with r `[9, K, C]`, added up over thresholds.

    |δ| is |g| Σ f, since no f is negative; but δ² = g² (Σ f)² also has the products of two windows that hold
    the same element. The product belongs to the gap of the window that reaches the element last.
    """
    size, square = g.abs(), g * g
    cross = None if r is None else g * r
    total = candidates.new_zeros((7 if r is None else 9, *candidates.shape))
    levels = [(_reach(edge), shape.ordinate(edge.distance), edge.height) for edge in edges]
    for at, (reach, y, height) in enumerate(levels):
        # (p + q y)² + 2 (p + q y) (p n + q z), with n others inside already, whose y add up to z.
        n: Tensor | float = 0.0
        z: Tensor | float = 0.0
        for other, (earlier, ordinate, weight) in enumerate(levels):
            if other != at:
                there = weight * (earlier <= reach if other < at else earlier < reach)
                n, z = n + there, z + there * ordinate
        alone, mixed, of_y = height + 2 * n, y * (height + n) + z, y * (height * y + 2 * z)
        moments = [g, g * y, size, size * y, square * alone, square * mixed, square * of_y]
        if cross is not None:
            moments += [cross, cross * y]
        total += height * held(reach, moments, candidates)
    return total


def _reach(edge: Edge) -> Tensor:
    """The smallest window that holds each element."""
    reach = edge.distance.abs()
    if edge.lower_edge:
        return reach
    wider = torch.nextafter(reach, reach.new_tensor(torch.inf))
    return torch.where(edge.distance < 0, wider, reach)


def held(distance: Tensor, moments: Sequence[Tensor], candidates: Tensor) -> Tensor:
    """Sums of M moments over the elements inside each window `[M, K, C]`; inputs are `[K, N]`."""
    ascending, order = candidates.sort(stable=True)
    steps, gaps = len(candidates), candidates.shape[1] + 1
    gap = torch.searchsorted(ascending, distance)  # the smallest window that contains the element
    gap += gaps * torch.arange(steps, device=gap.device)[:, None]
    found = [torch.bincount(gap.view(-1), moment.view(-1), minlength=steps * gaps) for moment in moments]
    inside = torch.stack(found).view(-1, steps, gaps)[..., :-1].cumsum(-1)
    return torch.empty_like(inside).scatter_(-1, order.expand_as(inside), inside)


def _flat(seen: Observation) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Potential, upstream, carry and later `[K, 1, N]`."""
    _, u, g, c, r = seen
    carry, later = (None if part is None else part.flatten(1)[:, None] for part in (c, r))
    return u.flatten(1)[:, None], g.flatten(1)[:, None], carry, later


def _rows(delta: Tensor, later: Tensor | None) -> Tensor:
    """Sums over the last dimension of `[..., C, N]`, in float64 `[..., C, 6]`; `later` is `[..., 1, N]`."""
    wide = delta.double()
    total = wide.sum(-1)
    cross = square = torch.zeros_like(total)
    if later is not None:
        r = later.double()
        cross, square = (wide @ r.mT).squeeze(-1), (r * r).sum(-1).expand_as(total)
    count = torch.full_like(total, delta.shape[-1])
    return torch.stack([count, total, wide.abs().sum(-1), (wide * wide).sum(-1), cross, square], -1)
