"""The results of a measurement of curvature, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from a2sg.columns import aligned
from a2sg.study.measure.result import Result


@dataclass(frozen=True)
class Spectrum:
    """The ends of a symmetric matrix: of the whole network, or a layer's block on the diagonal.

    Attributes:
        parameters: rows of the matrix.
        top: largest eigenvalues, descending.
        bottom: smallest eigenvalues, ascending; empty where the matrix cannot have any below 0.
        trace: the sum of all eigenvalues; None if it was not asked for.
        trace_error: standard error of the trace where it is an estimate; 0 where it is exact.
    """

    parameters: int
    top: list[float]
    bottom: list[float]
    trace: float | None
    trace_error: float | None


@dataclass(frozen=True)
class FieldSpectrum:
    """As `Spectrum`, of a matrix that is not symmetric.

    Attributes:
        parameters: rows of the matrix.
        top: eigenvalues of largest modulus, descending, as pairs (real part, imaginary part).
        trace: the sum of all eigenvalues; None if it was not asked for.
        trace_error: standard error of the trace; 0 where it is exact.
        asymmetry: share of the squared Frobenius norm in the antisymmetric part (J - Jᵀ)/2: 0 if symmetric,
            1/2 if J and Jᵀ have nothing in common, 1 if antisymmetric. An estimate, which may fall a little
            outside; None if it was not asked for, or J is 0.
        asymmetry_error: its standard error (jackknife); 0 where it is exact.
    """

    parameters: int
    top: list[tuple[float, float]]
    trace: float | None
    trace_error: float | None
    asymmetry: float | None
    asymmetry_error: float | None


@dataclass(frozen=True)
class Curvature(Result):
    """One kind of curvature, of the whole network and by layer.

    Attributes:
        kind: the matrix.
        samples: N, in the batch.
        loss: their mean loss.
        whole: over all trained parameters.
        layers: over those of each layer alone, by the name of the module that holds them.
        products: products of the matrix with a vector that it took; 0 for a Gram matrix.
    """

    kind: str
    samples: int
    loss: float
    whole: Spectrum | FieldSpectrum
    layers: dict[str, Spectrum | FieldSpectrum]
    products: int

    def __str__(self) -> str:
        """A row per layer: parameters, and those of eigenvalues, trace and asymmetry that were measured."""
        rows = [["layer", "parameters", "largest", "smallest", "trace", "asymmetry"]]
        for name, found in {"whole": self.whole, **self.layers}.items():
            smallest = [_shown(value) for value in getattr(found, "bottom", ())[:1]] or [""]
            asymmetry = getattr(found, "asymmetry", None), getattr(found, "asymmetry_error", None)
            ends = [_shown(found.top[0]), *smallest]
            sums = [_estimate(found.trace, found.trace_error), _estimate(*asymmetry)]
            rows.append([name, f"{found.parameters:,}", *ends, *sums])
        columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
        title = f"{self.kind}, {self.samples} samples, loss {self.loss:.4g}"
        return "\n".join([title, *aligned(list(zip(*columns, strict=True)))])


@dataclass(frozen=True)
class GradNormSq(Result):
    """Squared norms of the mean gradient of a batch.

    Attributes:
        samples: N.
        loss: their mean loss.
        whole: over all trained parameters.
        layers: over those of each layer.
    """

    samples: int
    loss: float
    whole: float
    layers: dict[str, float]


def _shown(value: float | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        real, imaginary = value
        return f"{real:.4g}" if imaginary == 0 else f"{real:.4g} {imaginary:+.3g}i"
    return f"{value:.4g}"


def _estimate(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g} ± {error:.2g}" if error else f"{value:.4g}"
