"""Matrices of the form Σ v vᵀ through the products of their vectors, and the Gauss-Newton matrix as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from a2sg.errors import require
from a2sg.progress import progress
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.operators import grad

LARGEST = 4096
"""Maximum number of outputs of a sample, over all steps, for which their Hessian is built in full."""
ROUNDING = 1e-6
"""Eigenvalues of the Hessian below this share of the largest one count as 0."""
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

    Σ v vᵀ has the same nonzero eigenvalues and the same trace as this matrix. As many of the M vectors are
    held as fit into the given bytes of memory, at least one; if not all fit, later ones are computed again
    for each such block. Layers say which of a vector's tensors are theirs.

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


class Factors:
    """Vectors v = Jᵀ q √λ, (λ, q) the eigenpairs of each sample's H: Σ v vᵀ = Σ Jᵀ H J.

    Args:
        objective: must be `ready` here and in `pulled_back`.

    Raises:
        InputError: if samples have too many outputs, or the loss is not convex in them.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._factors = [self._of_sample(sample) for sample in range(len(objective))]
        self._order = [(n, c) for n, rows in enumerate(self._factors) for c in range(len(rows))]
        self._output: tuple[int, Tensor] | None = None
        require(bool(self._order), "the loss does not bend with the outputs: its Gauss-Newton matrix is 0")

    def __len__(self) -> int:
        return len(self._order)

    def pulled_back(self, number: int) -> Sequence[Tensor]:
        """One of the vectors, as one tensor per parameter."""
        sample, row = self._order[number]
        if self._output is None or self._output[0] != sample:
            self._output = (sample, self._objective.output(range(sample, sample + 1)))
        output = self._output[1]
        weights = self._factors[sample][row].to(output).view_as(output)
        return grad([output], self._objective.parameters, [weights])

    def _of_sample(self, sample: int) -> Tensor:
        """√λ q, one per row, float64 on the CPU."""
        samples = range(sample, sample + 1)
        with torch.no_grad():
            output = self._objective.output(samples)
        many = f"a sample has {output.numel():,} outputs, too many to write out their Hessian"
        require(output.numel() <= LARGEST, f"{many}: use method='lanczos'")
        hessian = torch.autograd.functional.hessian(
            lambda z: self._objective.of_output(z, samples), output
        ).reshape(output.numel(), output.numel())
        values, vectors = torch.linalg.eigh(hessian.to("cpu", torch.float64))
        least = ROUNDING * values.abs().max()
        require(
            bool((values >= -least).all()),
            "the loss is not convex in the outputs: use method='lanczos'",
        )
        kept = values > least
        return vectors[:, kept].T * values[kept].sqrt()[:, None]
