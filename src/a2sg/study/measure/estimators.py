"""Eigenvalues, traces and asymmetry of any `Operator`, from its products; exact where that costs no more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a2sg.errors import InputError, require_count, require_positive
from a2sg.study.measure.curvature_results import FieldSpectrum, Spectrum
from a2sg.study.measure.operators import Operator

DENSE = 64
"""Matrices of so few rows are written out: that is exact, and takes no more products."""
ROUGH = 0.1
"""Tolerance of the largest modulus, where it sets a scale."""


@dataclass(frozen=True)
class Estimates:
    """What to find out of an operator, and how well.

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
        """Of a symmetric matrix without eigenvalues below 0: its largest ones, and the trace."""
        values = largest(operator, self.top, self.tolerance, self.seed)
        return Spectrum(operator.size, values, [], *trace(operator, self.probes, self.seed))

    def symmetric(self, operator: Operator) -> Spectrum:
        """Of a symmetric matrix: both ends, and the trace."""
        values = ends(operator, self.top, self.tolerance, self.seed)
        return Spectrum(operator.size, *values, *trace(operator, self.probes, self.seed))

    def general(self, operator: Operator) -> FieldSpectrum:
        """Of any matrix, or its transpose: eigenvalues of largest modulus, trace and asymmetry."""
        values = largest_of_any(operator, self.top, self.tolerance, self.seed)
        return FieldSpectrum(
            operator.size,
            [(value.real, value.imag) for value in values],
            *trace(operator, self.probes, self.seed),
            *asymmetry(operator, self.probes, self.seed),
        )


def ends(operator: Operator, top: int, tolerance: float, seed: int) -> tuple[list[float], list[float]]:
    """The largest and the smallest eigenvalues of a symmetric matrix, by Lanczos iterations.

    The tolerance is relative to the largest modulus. Relative to themselves, ends of next to 0, such as the
    smallest eigenvalue of a layer that is all but convex, would take thousands of products.

    Returns:
        The `top` largest, descending, and the `top` smallest, ascending: all, if there are fewer.

    Raises:
        InputError: if the iterations do not converge.
    """
    from scipy.sparse.linalg import eigsh

    if operator.size <= max(DENSE, 4 * top + 2):
        matrix = operator.dense()
        values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).tolist()
    else:
        (extreme,) = _arpack(eigsh, operator, 1, ROUGH, seed, which="LM")
        shift = 3 * abs(float(extreme))  # all eigenvalues are then between about 2 and 4 times the largest
        found = _arpack(eigsh, operator.shifted(shift), 2 * top, tolerance / 4, seed, which="BE")
        values = sorted(float(value) - shift for value in found)
    return values[::-1][:top], values[:top]


def largest(operator: Operator, top: int, tolerance: float, seed: int) -> list[float]:
    """The largest eigenvalues of a symmetric matrix, descending, by Lanczos iterations; see `ends`."""
    from scipy.sparse.linalg import eigsh

    if (gram := operator.gram()) is not None:
        values: list[float] = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).tolist()
        return [*values, *[0.0] * (operator.size - len(values))][: min(top, operator.size)]
    if operator.size <= max(DENSE, 2 * top + 2):
        return ends(operator, top, tolerance, seed)[0]
    found = _arpack(eigsh, operator, top, tolerance, seed, which="LA")
    return sorted((float(value) for value in found), reverse=True)


def largest_of_any(operator: Operator, top: int, tolerance: float, seed: int) -> list[complex]:
    """The eigenvalues of largest modulus of any real matrix, by Arnoldi iterations; see `ends`.

    Complex ones come in conjugate pairs, that of positive imaginary part first; the last pair may be cut.
    """
    from scipy.sparse.linalg import eigs

    if operator.size <= max(DENSE, 2 * top + 4):
        values = torch.linalg.eigvals(operator.dense()).tolist()
    else:  # one more, so that a pair is not cut within the iterations
        values = _arpack(eigs, operator, top + 1, tolerance, seed, which="LM").tolist()
    return sorted(values, key=lambda value: (-round(abs(value), 12), -value.imag))[:top]


def trace(operator: Operator, probes: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """The mean of zᵀ A z over random signs z (Hutchinson, 1989), and the standard error of that mean.

    It is exact, with an error of 0, for matrices of few rows, which are written out, and for sums of squares;
    None twice if there are no probes.
    """
    if (gram := operator.gram()) is not None:
        return gram.trace().item(), 0.0
    if not probes:
        return None, None
    if operator.size <= min(DENSE, probes):
        return operator.dense().trace().item(), 0.0
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(probes):
        z = signs(operator.size, generator)
        values.append(torch.dot(z, operator @ z).item())
    return mean_and_error(values)


def asymmetry(operator: Operator, probes: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """‖(A - Aᵀ)/2‖² / ‖A‖² = (1 - tr A² / ‖A‖²) / 2, from E zᵀ A A z and E ‖A z‖² over random signs z.

    Returns:
        The share and its standard error (jackknife), 0 for a matrix of few rows, which is written out; None
        twice if A is 0 or there are no probes.
    """
    if not probes:
        return None, None
    if operator.size <= min(DENSE, probes):
        matrix = operator.dense()
        square = matrix.square().sum().item()
        share = (matrix - matrix.T).square().sum().item() / (4 * square) if square else None
        return (None, None) if share is None else (share, 0.0)
    generator = torch.Generator().manual_seed(seed)
    squares, twice = [], []
    for _ in range(probes):
        z = signs(operator.size, generator)
        once = operator @ z
        squares.append(once.square().sum().item())
        twice.append(torch.dot(z, operator @ once).item())
    total, total_twice = math.fsum(squares), math.fsum(twice)
    if total == 0:
        return None, None
    left_out = [
        (1 - (total_twice - b) / (total - a)) / 2 for a, b in zip(squares, twice, strict=True) if total > a
    ]
    error = mean_and_error(left_out)[1] * (len(left_out) - 1)
    return (1 - total_twice / total) / 2, error


def signs(size: int, generator: torch.Generator) -> Tensor:
    """Random ±1, `[size]` float64."""
    return torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error; NaN for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _arpack(solver: Any, operator: Operator, count: int, tolerance: float, seed: int, which: str) -> Any:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator

    def apply(vector: Any) -> Any:
        return (operator @ torch.from_numpy(np.ascontiguousarray(vector).reshape(-1))).numpy()

    size = operator.size
    start = np.random.default_rng(seed).standard_normal(size)
    if not apply(start).any():
        return np.zeros(count)  # a random vector that it takes to 0: the matrix is 0, and ARPACK would stop
    matrix = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    try:
        return solver(matrix, k=count, which=which, v0=start, tol=tolerance, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise InputError(
            f"the largest eigenvalues of {size} parameters did not converge: ask for fewer (top) or a larger "
            "tolerance"
        ) from error
