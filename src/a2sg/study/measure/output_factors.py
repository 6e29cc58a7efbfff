"""The Hessian of a loss by the outputs, sample by sample, as a sum of few squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from a2sg.errors import require
from a2sg.study.measure.objective import Objective

LARGEST = 4096
"""Outputs of a sample, over all steps, up to which their Hessian is written out."""
ROUNDING = 1e-6
"""Eigenvalues of the Hessian this far from the largest one are 0."""


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
        weights = self._factors[sample][row].to(output.device, output.dtype).view_as(output)
        return torch.autograd.grad(
            output,
            self._objective.parameters,
            weights,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )

    def _of_sample(self, sample: int) -> Tensor:
        """√λ q, a row each, float64 on the CPU."""
        samples = range(sample, sample + 1)
        with torch.no_grad():
            output = self._objective.output(samples)
        require(
            output.numel() <= LARGEST,
            f"a sample has {output.numel():,} outputs, too many to write out their Hessian: take "
            "method='lanczos'",
        )
        hessian = torch.autograd.functional.hessian(
            lambda z: self._objective.of_output(z, samples), output
        ).reshape(output.numel(), output.numel())
        values, vectors = torch.linalg.eigh(hessian.to("cpu", torch.float64))
        least = ROUNDING * values.abs().max()
        require(
            bool((values >= -least).all()),
            "the loss is not convex in the outputs: take method='lanczos'",
        )
        kept = values > least
        return vectors[:, kept].T * values[kept].sqrt()[:, None]
