"""From the sums of a probed batch to numbers per layer and step.

Shares are of elements: neurons times samples. δ = dL/ds · f is the local gradient of the spike path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from a2sg.kernels.sums import Sums
from a2sg.study.measure.moments import several
from a2sg.study.measure.probe import LayerProbe, Look, Probed, StepSums
from a2sg.surrogate import WindowedAffine
from a2sg.surrogate.registry import side_by_side
from a2sg.window.objectives import ROUNDING, cv_from_sums, sgv_from_sums, tgc_from_sums
from a2sg.window.search import Exact
from a2sg.window.solve import Rows, solve

SHAPES = {
    name: shape for name, shape in side_by_side(close=True).items() if isinstance(shape, WindowedAffine)
}
"""Shapes that are compared; the number is the bias h."""

SKEWNESS, KURTOSIS = 0.5, 1.0
"""Potentials look Gaussian if skewness and excess kurtosis are at most this far from 0."""


@dataclass(frozen=True)
class Potential:
    """How the potentials of a layer at one step are spread, about the (first) threshold.

    Attributes:
        mean: of u - threshold.
        deviation: standard deviation σ.
        skewness: 0 for a Gaussian; None if all are equal.
        kurtosis: excess kurtosis, likewise.
        gaussian: whether they look Gaussian: |skewness| <= 0.5 and |excess kurtosis| <= 1.
        kappa: κ of Theorem 4.2, from the mean up to the window's lower edge; None with several thresholds.
        condition: Lκ/σ² of Theorem 4.2, L the width of the window. Above 1 the theorem, which assumes a
            Gaussian whose density is linear within the window, has the asymmetric shape vary less than a
            symmetric one.
    """

    mean: float
    deviation: float
    skewness: float | None
    kurtosis: float | None
    gaussian: bool
    kappa: float | None
    condition: float | None


@dataclass(frozen=True)
class Variation:
    """What one shape of the surrogate makes of a layer's gradients at one step; None where it is 0/0.

    Attributes:
        sgv: Var(δ) / mean|δ| at the window in use. It scales with the height of the shape.
        tgc: cos(δ, δ of the next step, as it is); None at the last step.
        cv: coefficient of variation of δ: its deviation over |mean|.
        surrogate_cv: that of ds/du itself, over all potentials: the CV that the theorems are about.
        best_window: of least SGV at the last step, of largest TGC at the others; None if no window has one.
        best_score: that SGV or TGC.
        by_window: SGV (at the last step) or TGC at each of the windows looked at.
    """

    sgv: float | None
    tgc: float | None
    cv: float | None
    surrogate_cv: float | None
    best_window: float | None
    best_score: float | None
    by_window: list[float | None] = field(repr=False)


@dataclass(frozen=True)
class StepDiagnosis:
    """A layer at one step.

    Attributes:
        step: from 1 to T.
        window: half-width in use.
        inside: share of potentials inside it.
        arriving: share of elements that a gradient dL/ds arrives at.
        passing: share of elements whose δ is not 0: that have a gradient.
        firing_rate: spikes per neuron.
        dead: share of neurons that fire in no sample.
        saturated: share of neurons that fire in every sample.
        upstream_norm: ‖dL/ds‖.
        gradient_norm: ‖δ‖.
        gain: ‖δ‖ over that of the layer behind; None for the last one.
        potential: see `Potential`.
        histogram: elements by distance to the nearest threshold: below the lowest of the edges, between them,
            from the highest on.
        held: share of potentials inside each of the windows looked at.
        own: under the layer's own shape; see `Variation`.
        shapes: under others, at the same window and with the same gradients arriving.
    """

    step: int
    window: float
    inside: float
    arriving: float
    passing: float
    firing_rate: float
    dead: float
    saturated: float
    upstream_norm: float | None
    gradient_norm: float | None
    gain: float | None
    potential: Potential
    own: Variation
    shapes: dict[str, Variation]
    histogram: list[int] = field(repr=False)
    held: list[float] = field(repr=False)


@dataclass(frozen=True)
class LayerDiagnosis:
    """A spiking layer.

    Attributes:
        name: of its module.
        kind: class of its module.
        surrogate: its shape.
        neurons: how many, per sample.
        dead: share of neurons that fire in no sample at any step.
        saturated: share of neurons that fire in every sample at every step.
        gradient_norm: ‖δ‖ over all steps.
        gain: ‖δ‖ over that of the layer behind; None for the last one.
        next_layer: the spiking layer that ran after it; None for the last one.
        steps: in order; without those that no backward pass came to.
    """

    name: str
    kind: str
    surrogate: str
    neurons: int
    dead: float
    saturated: float
    gradient_norm: float | None
    gain: float | None
    next_layer: str | None
    steps: list[StepDiagnosis]

    def mean(self, share: str) -> float:
        """The mean over steps of a number that each has."""
        return math.fsum(getattr(step, share) for step in self.steps) / len(self.steps)


def diagnose(probed: Probed, look: Look, names: Sequence[str]) -> list[LayerDiagnosis]:
    """Numbers of every layer that a backward pass reached, in the order of the forward pass.

    The names are those of the shapes that were compared.
    """
    nothing = torch.zeros((), dtype=torch.float64)
    squares = {
        name: torch.stack([nothing if sums is None else sums.own[-1, Sums.SQUARE] for sums in layer.steps])
        for name, layer in probed.layers.items()
    }
    found = []
    for name, after in pairwise([*probed.layers, None]):
        assert name is not None
        layer, square = probed.layers[name], squares[name]
        later = torch.tensor([]) if after is None else squares[after]
        neurons, silent, busy = layer.neurons()
        assert layer.gate is not None
        found.append(
            LayerDiagnosis(
                name=name,
                kind=probed.kinds[name],
                surrogate=str(layer.gate.surrogate),
                neurons=neurons,
                dead=silent / neurons,
                saturated=busy / neurons,
                gradient_norm=_number(square.sum().sqrt()),
                gain=_number((square.sum() / later.sum()).sqrt()),
                next_layer=after,
                steps=_steps(layer, look, names, square, later),
            )
        )
    return found


def _steps(
    layer: LayerProbe, look: Look, names: Sequence[str], square: Tensor, later: Tensor
) -> list[StepDiagnosis]:
    """Every step that a backward pass reached; `square` and `later` are Σδ² by step here and a layer on."""
    known = [(t, sums) for t, sums in enumerate(layer.steps) if sums is not None]
    last = torch.tensor([t == len(layer.steps) - 1 for t, _ in known])
    own, own_value, deltas, values = (
        torch.stack([getattr(sums, name) for _, sums in known])
        for name in ("own", "own_value", "delta", "value")
    )
    shapes = {
        name: _variations(deltas[:, at], values[:, at], last, look.windows) for at, name in enumerate(names)
    }
    of_own = _variations(own, own_value, last, look.windows)
    gains = (square / later).sqrt() if square.shape == later.shape else torch.full_like(square, torch.nan)
    return [
        StepDiagnosis(
            step=t + 1,
            window=layer.window[t].item(),
            inside=(sums.held[-1] / sums.elements).item(),
            arriving=(sums.arriving / sums.elements).item(),
            passing=(sums.passing / sums.elements).item(),
            firing_rate=(sums.spikes / sums.elements).item(),
            dead=(sums.silent / sums.neurons).item(),
            saturated=(sums.busy / sums.neurons).item(),
            upstream_norm=_number(sums.upstream.sqrt()),
            gradient_norm=_number(square[t].sqrt()),
            gain=_number(gains[t]),
            potential=_potential(sums, layer, t),
            own=of_own[row],
            shapes={name: rows[row] for name, rows in shapes.items()},
            histogram=[int(count) for count in sums.histogram],
            held=(sums.held[:-1] / sums.elements).tolist(),
        )
        for row, (t, sums) in enumerate(known)
    ]


def _variations(delta: Tensor, value: Tensor, last: Tensor, windows: Tensor) -> list[Variation]:
    """The variation of one shape at K known steps, from sums of δ `[K, C + 1, 6]` and of ds/du `[K, 6]`.

    Some of these steps are T. Sums of δ are at C windows and, last, the one in use; those of ds/du at the one
    in use.
    """
    alone = torch.full((len(last),), -1)
    every, no = torch.ones_like(last), torch.zeros_like(last)
    rows = Rows(last, every, torch.arange(len(last)), alone, torch.zeros_like(alone), no)
    found = solve(delta, rows, Exact(windows))
    nothing = delta[..., Sums.ABS] == 0
    sgv = sgv_from_sums(delta).masked_fill(nothing, torch.nan)
    tgc = tgc_from_sums(delta).masked_fill(nothing | (delta[..., Sums.LATER] == 0), torch.nan)
    score = torch.where(last[:, None], sgv, tgc)
    cv, value_cv = cv_from_sums(delta[:, -1]), cv_from_sums(value)
    choices = [int(at) if at < len(windows) else None for at in found.choice]
    return [
        Variation(
            sgv=_number(sgv[row, -1]),
            tgc=_number(tgc[row, -1]),
            cv=_number(cv[row]),
            surrogate_cv=_number(value_cv[row]),
            best_window=None if at is None else windows[at].item(),
            best_score=None if at is None else _number(score[row, at]),
            by_window=[_number(one) for one in score[row, :-1]],
        )
        for row, at in enumerate(choices)
    ]


def _potential(sums: StepSums, layer: LayerProbe, t: int) -> Potential:
    assert layer.gate is not None
    mean, second, third, fourth = (sums.powers / sums.elements).tolist()
    variance = second - mean**2
    if variance <= ROUNDING * second:
        variance = 0.0
    skewness = kurtosis = kappa = condition = None
    gaussian = False
    if variance > 0:
        skewness = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
        central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
        kurtosis = central / variance**2 - 3
        gaussian = abs(skewness) <= SKEWNESS and abs(kurtosis) <= KURTOSIS
    if not several(layer.gate):
        window = layer.window[t].item()
        kappa = -window - mean
        condition = 2 * window * kappa / variance if variance > 0 else None
    return Potential(mean, math.sqrt(variance), skewness, kurtosis, gaussian, kappa, condition)


def _number(value: Tensor) -> float | None:
    """A plain number; None where it is not finite."""
    return value.item() if bool(value.isfinite()) else None
