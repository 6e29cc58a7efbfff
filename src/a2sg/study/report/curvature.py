"""Curvature by its exact names, how much depends on the batch, and the worst case in a ball."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from a2sg.errors import InputError
from a2sg.study.measure.batches import over_batches
from a2sg.study.measure.curvature import (
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    surrogate_field_jacobian,
)
from a2sg.study.measure.curvature_results import Curvature, GradNormSq
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.sharpness import Sharpness, worst_case_sharpness
from a2sg.study.report import draw
from a2sg.study.report.cases import WHOLE, Case, Study
from a2sg.study.report.panel import Row, Section, panel, tabled

RHO = 0.3
"""Radius of the ball, in units of each filter's norm."""
REPEATS = 5
"""Batches of each size."""
Way = tuple[float, Callable[[Case], Any]]
"""A way to measure a run: its cost, in gradients of the samples, and the function."""


def curvature(study: Study) -> Section:
    """Every kind of curvature of every run, as far as the budget allows."""
    notes: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    chosen = {}
    for name, ways in _ways(study).items():
        prices = [price for price, _ in ways]
        at = next((at for at, price in enumerate(prices) if study.affordable(price)), len(ways))
        if at < len(ways):
            chosen[name] = ways[at][1]
        if at and at >= len(ways) - 1:
            what = name if at == len(ways) else f"{name} by layer"
            notes.append(study.too_slow(what, min(prices[:at])))
    for name, case in study.over([(n, c) for n in chosen for c in study.cases], "curvature"):
        try:
            found.setdefault(name, {})[case.label] = chosen[name](case)
        except InputError as error:
            notes.append(f"Left out: {name} of {case.label}: {error}.")
    rows = [
        row
        for name, runs in found.items()
        for label, one in runs.items()
        if isinstance(one, Curvature | GradNormSq)
        for row in _rows(label, name, one)
    ]
    panels = []
    if rows:
        shown = {"whole network": "quantity", "run": "run", "largest eigenvalue": "largest"}
        shown |= {"smallest": "smallest", "trace": "trace±", "asymmetry": "asymmetry±"}
        tables, samples = [tabled(draw.picked(rows, layer=WHOLE), shown)], study.options.samples
        panels.append(panel("curvature", rows, _largest, study.labels, tables=tables, samples=samples))
    if spreads := found.get("over_batches"):
        scattered = [
            {"run": label, "samples": spread.size, "number": at, "largest": value}
            for label, sizes in spreads.items()
            for spread in sizes
            for at, value in enumerate(spread.values, start=1)
        ]
        panels.append(panel("curvature-batches", scattered, _scattered, list(spreads), repeats=REPEATS))
    if balls := found.get("worst_case_sharpness"):
        rises = [
            {"run": label, "way": way, "number": at, "rise": rise}
            for label, ball in balls.items()
            for way, many in (("ascent", ball.ascent), ("random", ball.random))
            for at, rise in enumerate(many, start=1)
        ]
        panels.append(panel("sharpness", rises, _sharpness, balls, rho=RHO))
    return Section("Curvature", panels, notes, found, _glance(rows, balls or {}))


def _glance(rows: Sequence[Row], balls: Mapping[str, Sharpness]) -> dict[str, dict[str, float | None]]:
    found = {}
    for name, text in (("empirical_fisher", "empirical Fisher"), ("gauss_newton", "Gauss-Newton matrix")):
        whole = draw.picked(rows, quantity=name, layer=WHOLE)
        found[f"λmax of the {text}"] = {row["run"]: row["largest"] for row in whole}
    worst = {label: ball.increase for label, ball in balls.items()}
    found[f"worst rise of the loss, ρ = {RHO:g} filter norms"] = worst
    return {what: values for what, values in found.items() if values}


def _rows(label: str, quantity: str, found: Curvature | GradNormSq) -> list[Row]:
    """The available numbers; the squared norm takes the place of the largest eigenvalue."""
    names = ("trace", "trace_error", "asymmetry", "asymmetry_error")
    return [
        {
            "run": label,
            "quantity": quantity,
            "layer": layer,
            "largest": one if isinstance(one, float) else largest(one.top[0]),
            "smallest": next(iter(getattr(one, "bottom", ())), None),
            **{name: getattr(one, name, None) for name in names},
        }
        for layer, one in {WHOLE: found.whole, **found.layers}.items()
    ]


def _largest(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Curvature, by its exact names

    Each measure on {samples} training samples, the same for all runs, for the whole network and by layer. Use
    gauss_newton for claims about flatness. empirical_fisher says how gradients vary between samples.
    double_backward_hessian and surrogate_field_jacobian (its largest modulus) are what others call the
    Hessian; they measure different things.

    grad_norm_sq is not a curvature: it is the squared norm of the mean gradient, which the A2SG research code
    calls the Fisher's top eigenvalue, and says how far training is from a stationary point. All measures
    except the loss itself pass through each run's own surrogate and windows, so part of a difference between
    runs is a difference between surrogates. empirical_fisher falls as the loss does.
    """
    by_layer = draw.distinct([row for row in rows if row["layer"] != WHOLE], "quantity")
    layers = draw.distinct(rows, "layer")  # the whole network is the first
    width = min(6.0, max(3.4, 1.6 + 0.22 * len(layers)))
    figure, (panels,) = draw.columns(by_layer, ("",), width, 3.6, share=False)
    for axes, name in zip(panels, by_layer, strict=True):
        axes.set_title(
            f"{name}\n{'(no curvature)' if name == 'grad_norm_sq' else 'largest eigenvalue'}", fontsize=10
        )
        mine = draw.picked(rows, quantity=name)
        draw.runs_by_layer(axes, mine, "largest", labels, layers)
        draw.log_if_positive(axes, [row["largest"] for row in mine])
        axes.axvline(0.5, color="#BBBBBB", linewidth=0.8)
    return draw.legend_below(figure, panels[0])


def _scattered(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """How much depends on the batch

    λmax of the empirical Fisher on {repeats} random batches of two sizes, drawn from the same samples. A
    difference between runs that is smaller than this scatter shows nothing.

    Small batches look sharper, whatever the network: compare at equal sizes. Results also vary between
    training seeds, which this picture does not show.
    """
    sizes = sorted(draw.distinct(rows, "samples"))
    figure, (panels,) = draw.frame(1, len(sizes), 3.4, 1.1 + 0.35 * len(labels), sharey=True, sharex=True)
    for axes, size in zip(panels, sizes, strict=True):
        for at, label in enumerate(labels):
            mine = draw.picked(rows, run=label, samples=size)
            draw.plot(axes, [row["largest"] for row in mine], [at] * len(mine), at, "o", alpha=0.6)
        axes.set_title(f"{size} samples", fontsize=10)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel("λmax of the empirical Fisher", fontsize=9)
        axes.ticklabel_format(axis="x", scilimits=(0, 0))
    panels[0].set_yticks(range(len(labels)), list(map(draw.drawn_name, labels)))
    return figure


def _sharpness(rows: Sequence[Row], balls: Mapping[str, Sharpness]) -> draw.Figure:
    """The worst case in a ball

    Rise of the loss along gradient ascent within {rho:g} times the norm of each filter (line, step by step),
    and in random directions of that length (crosses). The loss is that of the spiking network, and nothing is
    differentiated twice.

    The worst rise that was found is only a lower bound of the true worst case, and each run searches for it
    with its own surrogate.
    """
    figure, ((axes,),) = draw.frame(1, 1, 6.5, 3.2)
    for at, (label, ball) in enumerate(balls.items()):
        rises = [0.0, *ball.ascent]
        draw.plot(axes, range(len(rises)), rises, at, "o-", label=label)
        draw.plot(axes, [len(rises) + 0.15 * at] * len(ball.random), ball.random, at, "x")
    steps = max(len(ball.ascent) for ball in balls.values())
    axes.set_xticks([*range(steps + 2)], [*map(str, range(steps + 1)), "random"])
    axes.set_xlabel("step of the ascent")
    axes.set_ylabel("rise of the loss")
    return draw.legend_below(figure, axes)


def _ways(study: Study) -> dict[str, list[Way]]:
    """The measurements, by their exact names; the first way that fits into the budget is used."""
    seed, samples, layers = study.options.seed, study.options.samples, study.cases[0].weights

    def by_products(price: float, function: Callable[..., Any]) -> list[Way]:
        """By layer, else only for the whole network; the cost is that of one matrix."""

        def run(case: Case, some: Sequence[str]) -> Any:
            return function(case.objective, layers=some, seed=seed)

        return [(price * (1 + len(some)), partial(run, some=some)) for some in (layers, ())]

    def by_gram(case: Case) -> Any:
        return gauss_newton(case.objective, method="gram", show_progress=False)

    def by_batch(case: Case) -> Any:
        sizes, options = sorted({max(1, samples // 8), samples // 2}), {"repeats": REPEATS, "seed": seed}
        return over_batches(_top_of_fisher, case.objective, sizes, show_progress=False, **options)

    def ball(case: Case) -> Any:
        return worst_case_sharpness(case.objective, rho=RHO, scale="filter", seed=seed)

    newton = by_products(40, partial(gauss_newton, probes=0, tolerance=1e-2))
    return {
        "grad_norm_sq": [(1, lambda case: grad_norm_sq(case.objective))],
        "empirical_fisher": [(8, lambda case: case.fisher)],
        "gauss_newton": [(8 * len(study.data.classes), by_gram), *newton],
        "double_backward_hessian": by_products(60, double_backward_hessian),
        "surrogate_field_jacobian": by_products(60, surrogate_field_jacobian),
        "over_batches": [(30, by_batch)],
        "worst_case_sharpness": [(10, ball)],
    }


def _top_of_fisher(batch: Objective) -> float:
    return largest(empirical_fisher(batch, show_progress=False).whole.top[0])


def largest(value: float | tuple[float, float]) -> float:
    """An eigenvalue, or the modulus of a complex one."""
    return (value[0] ** 2 + value[1] ** 2) ** 0.5 if isinstance(value, tuple) else value
