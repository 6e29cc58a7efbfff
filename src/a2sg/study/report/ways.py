"""The ways to measure curvature, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from a2sg.study.measure.batches import BatchSpread, over_batches
from a2sg.study.measure.curvature import (
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    surrogate_field_jacobian,
)
from a2sg.study.measure.curvature_results import Curvature
from a2sg.study.measure.sharpness import worst_case_sharpness
from a2sg.study.report.case import Case

RHO = 0.3
"""Radius of the ball, in units of each filter's norm."""
REPEATS = 5
"""Batches of each size."""


@dataclass(frozen=True)
class Measure:
    """One way to measure, and its price.

    Attributes:
        gradients: of the samples, that it costs about as much as.
        run: measures a run.
    """

    gradients: float
    run: Callable[[Case, int], Any]


def measures(classes: int, samples: int, layers: Sequence[str]) -> dict[str, list[Measure]]:
    """What is measured, by its exact name; the first way that fits into the budget is taken.

    Args:
        classes: of the data.
        samples: of the objective.
        layers: which to look at where each costs products of its own.
    """
    return {
        "grad_norm_sq": [Measure(1, lambda case, seed: grad_norm_sq(case.objective))],
        "empirical_fisher": [Measure(8, lambda case, seed: case.fisher)],
        "gauss_newton": [
            Measure(
                8 * classes,
                lambda case, seed: gauss_newton(case.objective, method="gram", show_progress=False),
            ),
            *_by_products(40, layers, partial(gauss_newton, probes=0, tolerance=1e-2)),
        ],
        "double_backward_hessian": _by_products(60, layers, double_backward_hessian),
        "surrogate_field_jacobian": _by_products(60, layers, surrogate_field_jacobian),
        "over_batches": [Measure(30, lambda case, seed: _by_batch(case, samples, seed))],
        "worst_case_sharpness": [
            Measure(
                10, lambda case, seed: worst_case_sharpness(case.objective, RHO, scale="filter", seed=seed)
            )
        ],
    }


def _by_products(price: float, layers: Sequence[str], function: Callable[..., Curvature]) -> list[Measure]:
    """By layer, else of the whole network alone.

    Args:
        price: of a matrix.
        layers: which.
        function: called with the objective, layers and seed.
    """

    def measure(some: Sequence[str]) -> Measure:
        return Measure(
            price * (1 + len(some)), lambda case, seed: function(case.objective, layers=some, seed=seed)
        )

    return [measure(layers), measure(())]


def _by_batch(case: Case, samples: int, seed: int) -> list[BatchSpread]:
    return over_batches(
        lambda batch: largest(empirical_fisher(batch, show_progress=False).whole.top[0]),
        case.objective,
        sorted({max(1, samples // 8), samples // 2}),
        REPEATS,
        seed,
        show_progress=False,
    )


def largest(value: float | tuple[float, float]) -> float:
    """An eigenvalue, or the modulus of a complex one."""
    return (value[0] ** 2 + value[1] ** 2) ** 0.5 if isinstance(value, tuple) else value
