"""Eigenvalues, traces and asymmetry of any `Operator`, from its products; exact where that costs no more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a2sg.errors import InputError, require_count, require_positive
from a2sg.study.measure.curvature_results import FieldSpectrum, Spectrum
from a2sg.study.measure.operators import Operator

DENSE = 64
"""Matrices with at most this many rows are built in full: that is exact, and takes no more products."""
ROUGH = 0.1
"""Tolerance of the largest modulus if it only sets a scale."""


@dataclass(frozen=True)
class Estimates:
    """What to find out about an operator, and how accurately.

    Args:
        top: eigenvalues at each end.
        probes: random vectors for trace and asymmetry; 0 leaves them out.
        tolerance: relative, of eigenvalues.
        seed: of starting vectors and probes.

    Raises:
        InputError: for an option out of range.
    """

    top: int = 1
    probes: int = 16
    tolerance: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("top", self.top)
        require_count("probes", self.probes, least=0)
        require_positive("tolerance", self.tolerance)

    def convex(self, operator: Operator) -> Spectrum:
        """The largest eigenvalues and the trace of a symmetric matrix without eigenvalues below 0."""
        return Spectrum(operator.size, self.largest(operator), [], *self.trace(operator))

    def symmetric(self, operator: Operator) -> Spectrum:
        """Both ends and the trace of a symmetric matrix."""
        return Spectrum(operator.size, *self.ends(operator), *self.trace(operator))

    def general(self, operator: Operator) -> FieldSpectrum:
        """Eigenvalues of largest modulus, trace and asymmetry of any matrix, or its transpose."""
        values = [(value.real, value.imag) for value in self.moduli(operator)]
        return FieldSpectrum(operator.size, values, *self.trace(operator), *self.asymmetry(operator))

    def ends(self, operator: Operator) -> tuple[list[float], list[float]]:
        """The largest and smallest eigenvalues of a symmetric matrix, from the ends inwards, by Lanczos.

        The tolerance is relative to the largest modulus. Relative to the ends themselves, ends close to 0,
        such as the smallest eigenvalue of an almost convex layer, would take thousands of products.

        Raises:
            InputError: if the iterations do not converge.
        """
        if operator.size <= max(DENSE, 4 * self.top + 2):
            matrix = operator.dense()
            values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).tolist()
        else:
            (extreme,) = self._arpack("eigsh", operator, 1, "LM", ROUGH)
            shift = 3 * abs(
                float(extreme)
            )  # all eigenvalues are then between about 2 and 4 times the largest
            found = self._arpack("eigsh", operator.shifted(shift), 2 * self.top, "BE", self.tolerance / 4)
            values = sorted(float(value) - shift for value in found)
        return values[::-1][: self.top], values[: self.top]

    def largest(self, operator: Operator) -> list[float]:
        """The largest eigenvalues of a symmetric matrix, descending, by Lanczos iterations; see `ends`."""
        if (gram := operator.gram) is not None:
            values: list[float] = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).tolist()
            return [*values, *[0.0] * (operator.size - len(values))][: min(self.top, operator.size)]
        if operator.size <= max(DENSE, 2 * self.top + 2):
            return self.ends(operator)[0]
        return sorted(
            map(float, self._arpack("eigsh", operator, self.top, "LA", self.tolerance)), reverse=True
        )

    def moduli(self, operator: Operator) -> list[complex]:
        """The eigenvalues of largest modulus of any real matrix, by Arnoldi iterations; see `ends`.

        Complex ones come in conjugate pairs, that of positive imaginary part first; the last pair may be cut.
        """
        if operator.size <= max(DENSE, 2 * self.top + 4):
            values = torch.linalg.eigvals(operator.dense()).tolist()
        else:  # one more, so that a pair is not cut within the iterations
            values = self._arpack("eigs", operator, self.top + 1, "LM", self.tolerance).tolist()
        return sorted(values, key=lambda value: (-round(abs(value), 12), -value.imag))[: self.top]

    def trace(self, operator: Operator) -> tuple[float, float] | tuple[None, None]:
        """The mean of zᵀ A z over random signs z (Hutchinson, 1989), and the standard error of that mean.

        It is exact, with an error of 0, for matrices with few rows, which are built in full, and for sums of
        squares; None twice if there are no probes.
        """
        if (gram := operator.gram) is not None:
            return gram.trace().item(), 0.0
        if not self.probes:
            return None, None
        if operator.size <= min(DENSE, self.probes):
            return operator.dense().trace().item(), 0.0
        return mean_and_error([torch.dot(z, operator @ z).item() for z in self._signs(operator.size)])

    def asymmetry(self, operator: Operator) -> tuple[float, float] | tuple[None, None]:
        """‖(A - Aᵀ)/2‖² / ‖A‖² = (1 - tr A² / ‖A‖²) / 2, from E zᵀ A A z and E ‖A z‖² over random signs z.

        Its standard error is by the jackknife, or 0 for a matrix with few rows, which is built in full; None
        twice if A is 0 or there are no probes.
        """
        if not self.probes:
            return None, None
        if operator.size <= min(DENSE, self.probes):
            matrix = operator.dense()
            square = matrix.square().sum().item()
            share = (matrix - matrix.T).square().sum().item() / (4 * square) if square else None
            return (None, None) if share is None else (share, 0.0)
        squares, twice = [], []
        for z in self._signs(operator.size):
            once = operator @ z
            squares.append(once.square().sum().item())
            twice.append(torch.dot(z, operator @ once).item())
        total, total_twice = math.fsum(squares), math.fsum(twice)
        if total == 0:
            return None, None
        pairs = [(a, b) for a, b in zip(squares, twice, strict=True) if total > a]
        left_out = [(1 - (total_twice - b) / (total - a)) / 2 for a, b in pairs]
        error = mean_and_error(left_out)[1] * (len(left_out) - 1)
        return (1 - total_twice / total) / 2, error

    def _signs(self, size: int) -> Iterator[Tensor]:
        """Random ±1, `[size]` float64, as many as there are probes."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.probes):
            yield torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1

    def _arpack(self, solver: str, operator: Operator, count: int, which: str, tolerance: float) -> Any:
        """The result of one of SciPy's solvers."""
        from scipy.sparse import linalg

        def apply(vector: Any) -> Any:
            return (operator @ torch.from_numpy(np.ascontiguousarray(vector).reshape(-1))).numpy()

        size = operator.size
        start = np.random.default_rng(self.seed).standard_normal(size)
        if not apply(start).any():
            return np.zeros(count)  # it maps a random vector to 0: the matrix is 0, and ARPACK would stop
        matrix = linalg.LinearOperator((size, size), matvec=apply, dtype=np.float64)
        options = {"which": which, "v0": start, "tol": tolerance, "return_eigenvectors": False}
        try:
            return getattr(linalg, solver)(matrix, k=count, **options)
        except linalg.ArpackNoConvergence as error:
            raise InputError(
                f"the largest eigenvalues of {size} parameters did not converge: ask for fewer (top) or a "
                "larger tolerance"
            ) from error


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error; NaN for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
