"""Sums of δ at every candidate window for a neuron that fires several spikes in a step, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.adopt.gates import Distance, Multiples
from a2sg.kernels.gate import Gate
from a2sg.surrogate import WindowedAffine
from a2sg.window.objectives import Sums
from a2sg.window.sums import binned, blocked


def of_multiples(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """As `a2sg.window.sums.binned`, for windows up to the threshold; wider ones as `blocked`.

    With y and z the distances to the two nearest multiples δ = g (f(y) + f(z)). All sums but one are those of
    y plus those of z. Σδ² has 2 Σ g² f(y) f(z) as well, over the elements inside both windows.
    """
    assert isinstance(gate, Multiples)
    near = candidates <= gate.reach
    if not isinstance(gate.surrogate, WindowedAffine) or carry is not None:
        near = torch.zeros_like(near)
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=potential.device)
    if not near.all():
        table[~near] = blocked(gate, potential, upstream, carry, later, candidates[~near])
    if near.any():
        table[near] = _near(gate, gate.surrogate, potential, upstream, later, candidates[near])  # type: ignore[arg-type]
    return table


def _near(
    gate: Multiples,
    shape: WindowedAffine,
    potential: Tensor,
    upstream: Tensor,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    reached, above = gate.nearest(potential.flatten().double())
    # The lower edge of the window above belongs to the one below: just outside.
    above = torch.nextafter(above, above.new_tensor(-torch.inf))
    one = Distance(shape)
    table = binned(one, reached, upstream, None, later, candidates)
    table[:, Sums.DELTA : Sums.LATER] += binned(one, above, upstream, None, later, candidates)[
        :, Sums.DELTA : Sums.LATER
    ]
    gap = torch.bucketize(torch.maximum(reached.abs(), above.abs()), candidates)
    square = upstream.flatten().double() ** 2
    y, z = shape.ordinate(reached), shape.ordinate(above)
    moments = [square, square * (y + z), square * y * z]
    both = [
        torch.bincount(gap, weights=moment, minlength=len(candidates) + 1)[:-1].cumsum(0)
        for moment in moments
    ]
    p, q = shape.coefficients(candidates)
    table[:, Sums.SQUARE] += 2 * (p * p * both[0] + p * q * both[1] + q * q * both[2])
    return table
