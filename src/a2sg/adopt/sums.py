"""Sums of δ at every candidate window for a neuron that may fire several spikes per step, in one pass."""

from __future__ import annotations

from torch import Tensor

from a2sg.adopt.gates import Multiples
from a2sg.kernels.sums import Edge, Observation, Sums, adding, blocked, windowed
from a2sg.surrogate import WindowedAffine


def of_multiples(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """Like `a2sg.kernels.sums.binned` for windows up to the threshold; like `blocked` for wider ones.

    Up to the threshold, a potential is only in the windows of the two nearest multiples.
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
    gate = seen.gate
    assert isinstance(gate, Multiples)

    def edges(potential: Tensor) -> list[Edge]:
        reached, above = gate.nearest(potential)
        return [Edge(reached), Edge(above, lower_edge=False)]

    return windowed(seen, candidates, edges)
