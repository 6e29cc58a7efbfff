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
from a2sg.study.measure.sharpness import worst_case_sharpness
from a2sg.study.report.case import Case

RHO = 0.3
"""Radius of the ball, in units of each filter's norm."""
REPEATS = 5
"""Batches of each size."""


@dataclass(frozen=True)
class Measure:
    """One way to measure a run, with a seed; `gradients` of the samples cost about as much."""

    gradients: float
    run: Callable[[Case, int], Any]


def measures(classes: int, samples: int, layers: Sequence[str]) -> dict[str, list[Measure]]:
    """What is measured, by its exact name; the first way that fits into the budget is taken.

    Args:
        classes: of the data.
        samples: of the objective.
        layers: which to look at where each costs products of its own.
    """

    def by_products(price: float, function: Callable[..., Any]) -> list[Measure]:
        """By layer, else of the whole network alone; the price is that of a matrix."""

        def run(case: Case, seed: int, some: Sequence[str]) -> Any:
            return function(case.objective, layers=some, seed=seed)

        return [Measure(price * (1 + len(some)), partial(run, some=some)) for some in (layers, ())]

    def newton(case: Case, seed: int) -> Any:
        return gauss_newton(case.objective, method="gram", show_progress=False)

    def ball(case: Case, seed: int) -> Any:
        return worst_case_sharpness(case.objective, rho=RHO, scale="filter", seed=seed)

    by_products_of_newton = by_products(40, partial(gauss_newton, probes=0, tolerance=1e-2))
    return {
        "grad_norm_sq": [Measure(1, lambda case, seed: grad_norm_sq(case.objective))],
        "empirical_fisher": [Measure(8, lambda case, seed: case.fisher)],
        "gauss_newton": [Measure(8 * classes, newton), *by_products_of_newton],
        "double_backward_hessian": by_products(60, double_backward_hessian),
        "surrogate_field_jacobian": by_products(60, surrogate_field_jacobian),
        "over_batches": [Measure(30, lambda case, seed: _by_batch(case, samples, seed))],
        "worst_case_sharpness": [Measure(10, ball)],
    }


def _by_batch(case: Case, samples: int, seed: int) -> list[BatchSpread]:
    return over_batches(
        lambda batch: largest(empirical_fisher(batch, show_progress=False).whole.top[0]),
        case.objective,
        sizes=sorted({max(1, samples // 8), samples // 2}),
        repeats=REPEATS,
        seed=seed,
        show_progress=False,
    )


def largest(value: float | tuple[float, float]) -> float:
    """An eigenvalue, or the modulus of a complex one."""
    return (value[0] ** 2 + value[1] ** 2) ** 0.5 if isinstance(value, tuple) else value
