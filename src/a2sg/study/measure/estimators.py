"""Eigenvalues and traces of matrices that are known by their products with vectors alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a2sg.errors import InputError

Product = Callable[[Tensor], Tensor]
"""Matrix times vector, `[P]` float64 on the CPU."""

DENSE = 64
"""Matrices of so few rows are written out: that is exact, and takes no more products."""


ROUGH = 0.1
"""Tolerance of the largest modulus, where it sets a scale."""


def written_out(product: Product, size: int) -> Tensor:
    """The whole matrix `[P, P]`."""
    return torch.stack([product(row) for row in torch.eye(size, dtype=torch.float64)], 1)


def ends(
    product: Product, size: int, top: int, tolerance: float, seed: int
) -> tuple[list[float], list[float]]:
    """The largest and the smallest eigenvalues of a symmetric matrix, by Lanczos iterations.

    The tolerance is relative to the largest modulus. Relative to themselves, ends of next to 0, such as the
    smallest eigenvalue of a layer that is all but convex, would take thousands of products.

    Returns:
        The `top` largest, descending, and the `top` smallest, ascending: all, if there are fewer.

    Raises:
        InputError: if the iterations do not converge.
    """
    from scipy.sparse.linalg import eigsh

    if size <= max(DENSE, 4 * top + 2):
        matrix = written_out(product, size)
        values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).tolist()
    else:
        (extreme,) = _arpack(eigsh, product, size, 1, ROUGH, seed, which="LM")
        shift = 3 * abs(float(extreme))  # all eigenvalues are then between about 2 and 4 times the largest

        def shifted(vector: Tensor) -> Tensor:
            return product(vector) + shift * vector

        found = _arpack(eigsh, shifted, size, 2 * top, tolerance / 4, seed, which="BE")
        values = sorted(float(value) - shift for value in found)
    return values[::-1][:top], values[:top]


def largest(product: Product, size: int, top: int, tolerance: float, seed: int) -> list[float]:
    """The largest eigenvalues of a symmetric matrix, descending, by Lanczos iterations; see `ends`."""
    from scipy.sparse.linalg import eigsh

    if size <= max(DENSE, 2 * top + 2):
        return ends(product, size, top, tolerance, seed)[0]
    found = _arpack(eigsh, product, size, top, tolerance, seed, which="LA")
    return sorted((float(value) for value in found), reverse=True)


def largest_of_any(product: Product, size: int, top: int, tolerance: float, seed: int) -> list[complex]:
    """The eigenvalues of largest modulus of any real matrix, by Arnoldi iterations; see `ends`.

    Complex ones come in conjugate pairs, that of positive imaginary part first; the last pair may be cut.
    """
    from scipy.sparse.linalg import eigs

    if size <= max(DENSE, 2 * top + 4):
        values = torch.linalg.eigvals(written_out(product, size)).tolist()
    else:  # one more, so that a pair is not cut within the iterations
        values = _arpack(eigs, product, size, top + 1, tolerance, seed, which="LM").tolist()
    return sorted(values, key=lambda value: (-round(abs(value), 12), -value.imag))[:top]


def hutchinson(product: Product, size: int, probes: int, seed: int) -> tuple[float, float]:
    """The trace as the mean of zᵀ A z over random signs z, and the standard error of that mean.

    Matrices of few rows are written out: the error is then 0.
    """
    if size <= min(DENSE, probes):
        return written_out(product, size).trace().item(), 0.0
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(probes):
        z = signs(size, generator)
        values.append(torch.dot(z, product(z)).item())
    return mean_and_error(values)


def asymmetry(product: Product, size: int, probes: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """‖(A - Aᵀ)/2‖² / ‖A‖² = (1 - tr A² / ‖A‖²) / 2, from E zᵀ A A z and E ‖A z‖² over random signs z.

    Returns:
        The share and its standard error (jackknife), 0 for a matrix of few rows, which is written out; None
        twice if A is 0 or there are no probes.
    """
    if not probes:
        return None, None
    if size <= min(DENSE, probes):
        matrix = written_out(product, size)
        square = matrix.square().sum().item()
        share = (matrix - matrix.T).square().sum().item() / (4 * square) if square else None
        return (None, None) if share is None else (share, 0.0)
    generator = torch.Generator().manual_seed(seed)
    squares, twice = [], []
    for _ in range(probes):
        z = signs(size, generator)
        once = product(z)
        squares.append(once.square().sum().item())
        twice.append(torch.dot(z, product(once)).item())
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


def _arpack(
    solver: Any, product: Product, size: int, count: int, tolerance: float, seed: int, which: str
) -> Any:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator

    def apply(vector: Any) -> Any:
        return product(torch.from_numpy(np.ascontiguousarray(vector).reshape(-1))).numpy()

    start = np.random.default_rng(seed).standard_normal(size)
    if not apply(start).any():
        return np.zeros(count)  # a random vector that it takes to 0: the matrix is 0, and ARPACK would stop
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    try:
        return solver(operator, k=count, which=which, v0=start, tol=tolerance, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise InputError(
            f"the largest eigenvalues of {size} parameters did not converge: ask for fewer (top) or a larger "
            "tolerance"
        ) from error
