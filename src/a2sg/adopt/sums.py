"""Sums of δ at every candidate window for a neuron that fires several spikes in a step, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.adopt.gates import Distance, Multiples
from a2sg.kernels.sums import Observation, Sums, binned, blocked
from a2sg.surrogate import WindowedAffine


def of_multiples(seen: Observation, candidates: Tensor) -> Tensor:
    """As `a2sg.kernels.sums.binned`, for windows up to the threshold; wider ones as `blocked`.

    With y and z the distances to the two nearest multiples δ = g (f(y) + f(z)). All sums but one are those of
    y plus those of z. Σδ² has 2 Σ g² f(y) f(z) as well, over the elements inside both windows.
    """
    gate = seen.gate
    assert isinstance(gate, Multiples)
    near = candidates <= gate.reach
    if not isinstance(gate.surrogate, WindowedAffine) or seen.carry is not None:
        near = torch.zeros_like(near)
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=candidates.device)
    if not near.all():
        table[~near] = blocked(seen, candidates[~near])
    if near.any():
        table[near] = _near(gate, gate.surrogate, seen, candidates[near])  # type: ignore[arg-type]
    return table


def _near(gate: Multiples, shape: WindowedAffine, seen: Observation, candidates: Tensor) -> Tensor:
    reached, above = gate.nearest(seen.potential.flatten().double())
    # The lower edge of the window above belongs to the one below: just outside.
    above = torch.nextafter(above, above.new_tensor(-torch.inf))
    one = seen._replace(gate=Distance(shape), potential=reached)
    table = binned(one, candidates)
    both = slice(Sums.DELTA, Sums.LATER)
    table[:, both] += binned(one._replace(potential=above), candidates)[:, both]
    gap = torch.bucketize(torch.maximum(reached.abs(), above.abs()), candidates)
    square = seen.upstream.flatten().double() ** 2
    y, z = shape.ordinate(reached), shape.ordinate(above)
    moments = [square, square * (y + z), square * y * z]
    inside = [
        torch.bincount(gap, weights=moment, minlength=len(candidates) + 1)[:-1].cumsum(0)
        for moment in moments
    ]
    p, q = shape.coefficients(candidates)
    table[:, Sums.SQUARE] += 2 * (p * p * inside[0] + p * q * inside[1] + q * q * inside[2])
    return table
