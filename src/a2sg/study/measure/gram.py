"""Matrices of the form Σ v vᵀ through the products of their vectors: never parameters by parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from a2sg.progress import progress

Vector = Callable[[int], Sequence[Tensor]]
"""The vector of a number, as one tensor per parameter."""


def gram(
    vector: Vector,
    count: int,
    layers: Mapping[str, Sequence[int]],
    memory: float,
    title: str = "",
    show: bool | None = None,
) -> dict[str, Tensor]:
    """The scalar products of vectors, layer by layer.

    The nonzero eigenvalues of Σ v vᵀ are those of this matrix, and so is its trace. As many vectors are
    held as fit into `memory`; if these are not all, later ones are computed again for each such block.

    Args:
        vector: computes a vector.
        count: how many there are, M.
        layers: which of a vector's tensors belong to each layer.
        memory: bytes for vectors; at least one is held.
        title: of the progress bar.
        show: see `progress`.

    Returns:
        `[M, M]` of each layer, float64, on the CPU. That of all parameters is their sum.
    """
    found = {name: torch.zeros(count, count, dtype=torch.float64) for name in layers}
    one = _flat(vector(0), layers)
    size = sum(part.numel() * part.element_size() for part in one.values())
    width = min(count, max(1, int(memory // max(1, size))))
    order = [(first, i) for first in range(0, count, width) for i in range(first, count)]
    held: dict[str, Tensor] = {}
    for first, i in progress(order, title, len(order), show):
        last = min(first + width, count)
        parts = one if i == 0 else _flat(vector(i), layers)
        if i == first:
            held = {name: part.new_empty(last - first, part.numel()) for name, part in parts.items()}
        for name, part in parts.items():
            if i < last:
                held[name][i - first] = part
            else:
                found[name][first:last, i] = (held[name] @ part).to("cpu", torch.float64)
                found[name][i, first:last] = found[name][first:last, i]
        if i == last - 1:
            for name, rows in held.items():
                found[name][first:last, first:last] = (rows @ rows.T).to("cpu", torch.float64)
    return found


def _flat(vector: Sequence[Tensor], layers: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    return {name: torch.cat([vector[at].flatten() for at in indices]) for name, indices in layers.items()}
