"""The paper's theorems on the variation of shapes, checked on a network's own potentials.

Theorem 4.1: among symmetric shapes the triangle has the least coefficient of variation (CV). Theorem 4.2:
where L κ > σ² the asymmetric shape has less than a symmetric one. Both are about ds/du of Gaussian
potentials. Here the CVs of all shapes are compared, under the Gaussian and as measured, and nothing is taken
for granted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from torch import nn

from a2sg.errors import require_choice
from a2sg.study.measure.diagnosis import SHAPES, Potential, StepDiagnosis, diagnose
from a2sg.study.measure.gaussian import Stretched, gaussian_cv
from a2sg.study.measure.objective import Batch, Forward, Loss
from a2sg.study.measure.probe import Look, probe
from a2sg.study.measure.result import Result
from a2sg.surrogate import Surrogate
from a2sg.surrogate.registry import side_by_side

SYMMETRIC = {name: shape for name, shape in side_by_side().items() if shape.symmetric}
"""Shapes that Theorem 4.1 is about; the first three have an end."""

SAME_WINDOW: dict[str, Surrogate] = {**SYMMETRIC, **{n: s for n, s in SHAPES.items() if n not in SYMMETRIC}}
"""Every shape at the window in use; those that end have the same support then."""


def equal_area(shape: Surrogate) -> Stretched:
    """A symmetric shape as wide as it takes to have the triangle's area at the triangle's height, 1."""
    peak = float(shape.profile(torch.zeros((), dtype=torch.float64)))
    return Stretched(shape, peak / shape.mass)


SAME_AREA: dict[str, Surrogate] = {name: equal_area(shape) for name, shape in SYMMETRIC.items()}
"""Symmetric shapes of height 1 and area β: a boxcar half as wide as the triangle, and so on."""

SHAPES_OF = {"same_window": SAME_WINDOW, "same_area": SAME_AREA}
COMPARISONS = tuple(SHAPES_OF)
MEASURES = ("gaussian", "measured", "gradient")
"""Of the variation of a shape; see `ShapeVariation`."""


@dataclass(frozen=True)
class ShapeVariation:
    """The variation of one shape at one layer and step.

    Attributes:
        gaussian: CV of ds/du under a Gaussian of the measured mean and deviation; None if f is 0 on all of
            it, or with several thresholds.
        measured: CV of ds/du over the potentials themselves; None if f is 0 on all of them.
        gradient: CV of δ, with the gradients that arrived; None where the mean is 0.
    """

    gaussian: float | None
    measured: float | None
    gradient: float | None


@dataclass(frozen=True)
class TheoremStep:
    """A layer at one step.

    Attributes:
        layer: name of its module.
        step: from 1 to T.
        window: half-width β in use.
        potential: mean, deviation σ, whether they look Gaussian, κ and Lκ/σ².
        condition: whether Theorem 4.2's Lκ > σ² holds; None with several thresholds or no spread. To first
            order about the window's lower edge, a Gaussian density falls to 1 - Lκ/σ² of its value there at
            the upper edge: the condition holds where that linear density, which the theorem assumes, is
            negative.
        same_window: shapes at the window in use; see `SAME_WINDOW`.
        same_area: symmetric shapes of one height and area; see `SAME_AREA`.
    """

    layer: str
    step: int
    window: float
    potential: Potential
    condition: bool | None
    same_window: dict[str, ShapeVariation]
    same_area: dict[str, ShapeVariation]

    def row(self) -> dict[str, Any]:
        """Its place and the distribution of its potentials, as plain data."""
        return {
            "layer": self.layer,
            "step": self.step,
            "window": self.window,
            "mean": self.potential.mean,
            "deviation": self.potential.deviation,
            "looks_gaussian": self.potential.gaussian,
            "kappa": self.potential.kappa,
            "l_kappa_over_variance": self.potential.condition,
        }


@dataclass(frozen=True)
class RampCount:
    """In how many layer-steps an asymmetric shape varied less than a symmetric one at the same window.

    Attributes:
        asymmetric: its name, with the bias h.
        symmetric: what it is compared with.
        measure: "gaussian", "measured" or "gradient"; see `ShapeVariation`.
        condition: whether Lκ > σ² holds in the layer-steps counted here.
        less: in how many the asymmetric shape has less CV.
        total: of how many; those without a CV of either are left out.
    """

    asymmetric: str
    symmetric: str
    measure: str
    condition: bool
    less: int
    total: int


@dataclass(frozen=True)
class Theorems(Result):
    """What `check_theorems` found.

    Attributes:
        steps: per layer and step, layers in the order of the forward pass.
    """

    steps: list[TheoremStep]

    def least(
        self, comparison: str = "same_area", measure: str = "measured", bounded: bool = True
    ) -> Counter[str]:
        """Theorem 4.1: how often each symmetric shape has the least CV.

        Args:
            comparison: `"same_area"`, of one height and area; or `"same_window"`, of one support if they end.
            measure: "gaussian", "measured" or "gradient".
            bounded: whether to leave out shapes that do not end.
        """
        require_choice("comparison", comparison, COMPARISONS)
        require_choice("measure", measure, MEASURES)
        names = [name for name, shape in SYMMETRIC.items() if shape.bounded or not bounded]
        wins: Counter[str] = Counter()
        for step in self.steps:
            found = {name: getattr(getattr(step, comparison)[name], measure) for name in names}
            known = {name: cv for name, cv in found.items() if cv is not None}
            if known:
                wins[min(known, key=lambda name: known[name])] += 1
        return wins

    def ramps(self, measure: str = "measured") -> list[RampCount]:
        """Theorem 4.2: asymmetric against boxcar and triangle, where its condition holds and where not."""
        require_choice("measure", measure, MEASURES)
        rows = []
        ramps = [name for name in SAME_WINDOW if name.startswith("asymmetric")]
        for ramp, symmetric, condition in product(ramps, ("triangle", "boxcar"), (True, False)):
            cvs = [
                [getattr(step.same_window[name], measure) for name in (ramp, symmetric)]
                for step in self.steps
                if step.condition is condition
            ]
            known = [(a, b) for a, b in cvs if a is not None and b is not None]
            less = sum(a < b for a, b in known)
            rows.append(RampCount(ramp, symmetric, measure, condition, less, len(known)))
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """A plain row per layer, step, comparison and shape, for a table or a CSV file."""
        return [
            {
                **step.row(),
                "condition": step.condition,
                "comparison": comparison,
                "shape": name,
                **{f"cv_{measure}": value for measure, value in asdict(found).items()},
            }
            for step in self.steps
            for comparison in COMPARISONS
            for name, found in getattr(step, comparison).items()
        ]


def check_theorems(model: nn.Module, batch: Batch, loss: Loss, *, forward: Forward | None = None) -> Theorems:
    """The CV of every shape per layer and step, and where the conditions of the paper's theorems hold.

    A copy of the model runs forward and backward once; see `a2sg.inspect`, also for other libraries' neurons.

    Args:
        model: the network.
        batch: (inputs, targets), on the model's device; larger is more reliable.
        loss: called with output and targets; gives one number.
        forward: called with the copy and the inputs, if it is not `model(inputs)`.

    Raises:
        InputError: as `a2sg.inspect`.
    """
    shapes = {f"{kind} {name}": shape for kind in COMPARISONS for name, shape in SHAPES_OF[kind].items()}
    look = Look(torch.ones(1, dtype=torch.float64), 1, list(shapes.values()))
    probed = probe(model, batch, loss, forward, look)
    layers = diagnose(probed, look, list(shapes))
    return Theorems([_checked(layer.name, step) for layer in layers for step in layer.steps])


def _checked(layer: str, step: StepDiagnosis) -> TheoremStep:
    potential = step.potential

    def variation(kind: str, name: str, shape: Surrogate) -> ShapeVariation:
        measured, gaussian = step.shapes[f"{kind} {name}"], None
        if potential.kappa is not None:  # one threshold
            gaussian = gaussian_cv(shape, step.window, potential.mean, potential.deviation)
        return ShapeVariation(gaussian, measured.surrogate_cv, measured.cv)

    found = {
        kind: {name: variation(kind, name, shape) for name, shape in SHAPES_OF[kind].items()}
        for kind in COMPARISONS
    }
    condition = None if potential.condition is None else potential.condition > 1
    return TheoremStep(layer, step.step, step.window, potential, condition, **found)
