"""Sums of δ at every candidate window for a neuron that may fire several spikes per step, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.adopt.gates import Distance, Multiples
from a2sg.kernels.sums import Observation, Sums, adding, binned, blocked, held
from a2sg.surrogate import WindowedAffine


def of_multiples(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """Like `a2sg.kernels.sums.binned` for windows up to the threshold; like `blocked` for wider ones.

    With y and z the distances to the two nearest multiples, δ = g (f(y) + f(z)). All sums but one are those
    of y plus those of z. Σδ² also has 2 Σ g² f(y) f(z), over the elements inside both windows.
    """
    gate = seen.gate
    assert isinstance(gate, Multiples)
    affine = isinstance(gate.surrogate, WindowedAffine) and seen.carry is None
    for k, windows in enumerate(candidates):
        near = (windows <= gate.reach) & affine
        for fill, there in ((_near, near), (blocked, ~near)):
            if there.any():
                found = table.new_zeros((1, int(there.sum()), len(Sums)))
                fill(seen.steps(slice(k, k + 1)), windows[there][None], found)
                table[k, there] += found[0]


@adding
def _near(seen: Observation, candidates: Tensor) -> Tensor:
    gate, shape = seen.gate, seen.gate.surrogate
    assert isinstance(gate, Multiples)
    assert isinstance(shape, WindowedAffine)
    reached, above = gate.nearest(seen.potential.flatten(1).double())
    # The lower edge of the upper window belongs to the lower one: here it is just outside.
    above = torch.nextafter(above, above.new_tensor(-torch.inf))
    one = seen._replace(gate=Distance(shape), potential=reached)
    table, other = candidates.new_zeros((2, *candidates.shape, len(Sums)))
    binned(one, candidates, table)
    binned(one._replace(potential=above), candidates, other)
    both = slice(Sums.DELTA, Sums.LATER)
    table[..., both] += other[..., both]
    square = seen.upstream.flatten(1).double() ** 2
    y, z = shape.ordinate(reached), shape.ordinate(above)
    moments = [square, square * (y + z), square * y * z]
    inside = held(torch.maximum(reached.abs(), above.abs()), moments, candidates)
    p, q = shape.coefficients(candidates)
    table[..., Sums.SQUARE] += 2 * (p * p * inside[0] + p * q * inside[1] + q * q * inside[2])
    return table
