"""Sums of δ at every candidate window (method, section 5): three ways to fill one table `[C, 6]`.

- `binned`: one pass, whatever the number of candidates; windowed affine shapes, spike path.
- `blocked`: one pass over the data in small blocks, all candidates at each; any shape, any gradient.
- `each`: one full evaluation per candidate, as the research code does it.

All take the tensors of one layer at one step: potential u, upstream dL/ds, carry (the part of dL/du
that does not depend on the window; None leaves it out), later r (None at the last step), and the
candidates, ascending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from a2sg.surrogate import WindowedAffine
from a2sg.window.objectives import Sums, sums_of

if TYPE_CHECKING:
    from a2sg.kernels.gate import Gate

BLOCK = 4096
"""Elements of a block: with 100 candidates the block's work fits a core's cache."""

CANCELLED = 1e-8
"""Share of a sum's terms below which their difference is no longer good to 1e-6 in float64."""


class Fill(Protocol):
    """A way to fill the table of sums."""

    def __call__(
        self,
        gate: Gate,
        potential: Tensor,
        upstream: Tensor,
        carry: Tensor | None,
        later: Tensor | None,
        candidates: Tensor,
    ) -> Tensor:
        """The table `[C, 6]`, float64."""
        ...


def one_pass(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """`binned` where it applies, else `blocked`."""
    affine = isinstance(gate.surrogate, WindowedAffine) and len(gate.thresholds) == 1
    fill = binned if affine and carry is None else blocked
    return fill(gate, potential, upstream, carry, later, candidates)


def each(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """Evaluate the whole local gradient once per candidate."""
    u, g = potential.double(), upstream.double()
    rows = []
    for window in candidates:
        delta = g * gate.derivative(u, window)
        rows.append(sums_of(delta if carry is None else delta + carry, later))
    return torch.stack(rows)


def blocked(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """Take each block of data once, with all candidates side by side `[C, block]`."""
    windows = candidates[:, None]
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=potential.device)
    u, g = potential.flatten(), upstream.flatten()
    c = None if carry is None else carry.flatten()
    r = None if later is None else later.flatten()
    for start in range(0, u.numel(), BLOCK):
        at = slice(start, start + BLOCK)
        delta = g[at].double() * gate.derivative(u[at].double(), windows)
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


def binned(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """Sort the data into the gaps between candidates once; running sums of moments give every window.

    With f = p + q·y inside the window, Σδ = p Σg + q Σgy, and so on for the other sums.
    """
    shape = gate.surrogate
    assert isinstance(shape, WindowedAffine)
    assert carry is None
    distance = potential.flatten().double() - gate.thresholds[0]
    gap = torch.bucketize(distance.abs(), candidates)  # the first candidate that holds the element
    y = shape.ordinate(distance)
    g = upstream.flatten().double()
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
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=potential.device)
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
        table[doubtful] = blocked(gate, potential, upstream, carry, later, candidates[doubtful])
    return table
