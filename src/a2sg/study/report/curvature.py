"""Curvature by its exact names, how much depends on the batch, and the worst case in a ball."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from a2sg.errors import InputError
from a2sg.study.measure.batches import BatchSpread
from a2sg.study.measure.curvature_results import Curvature, GradNormSq
from a2sg.study.measure.sharpness import Sharpness
from a2sg.study.report import draw
from a2sg.study.report.cases import WHOLE, Study
from a2sg.study.report.panel import Panel, Row, Section, tabled
from a2sg.study.report.ways import REPEATS, RHO, largest, measures


def curvature(study: Study) -> Section:
    """Every kind of curvature of every run, as far as the budget goes."""
    notes: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    chosen = {}
    layers = study.cases[0].weights
    for name, ways in measures(len(study.data.classes), study.options.samples, layers).items():
        way = next((way for way in ways if study.affordable(way.gradients)), None)
        if way is None:
            notes.append(study.too_slow(name, min(way.gradients for way in ways)))
            continue
        chosen[name] = way
        if len(ways) > 1 and way is ways[-1]:
            notes.append(study.too_slow(f"{name} by layer", min(way.gradients for way in ways[:-1])))
    for name, case in study.over([(n, c) for n in chosen for c in study.cases], "curvature"):
        try:
            found.setdefault(name, {})[case.label] = chosen[name].run(case, study.options.seed)
        except InputError as error:
            notes.append(f"Left out: {name} of {case.label}: {error}.")
    rows = [
        row
        for name, runs in found.items()
        for label, one in runs.items()
        if isinstance(one, Curvature | GradNormSq)
        for row in _rows(label, name, one)
    ]
    panels = [_panel(study, rows)] if rows else []
    if spreads := found.get("over_batches"):
        panels.append(_batches(spreads))
    if balls := found.get("worst_case_sharpness"):
        panels.append(_sharpness(balls))
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
    """What there is of each number; the squared norm stands where others have the largest eigenvalue."""
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


def _panel(study: Study, rows: Sequence[Row]) -> Panel:
    shown = {"whole network": "quantity", "run": "run", "largest eigenvalue": "largest"}
    shown |= {"smallest": "smallest", "trace": "trace±", "asymmetry": "asymmetry±"}
    return Panel(
        "curvature",
        "Curvature, by its exact names",
        f"Of {study.options.samples} training samples, the same for all runs, whole and by layer. "
        "gauss_newton is the one for claims about flatness; empirical_fisher says how gradients vary "
        "between samples; double_backward_hessian and surrogate_field_jacobian (its largest modulus) are "
        "what others call the Hessian, and are not of the same thing.",
        "grad_norm_sq is no curvature: it is what the A2SG research code calls the Fisher's top "
        "eigenvalue, the squared norm of the mean gradient, and says how far training is from a "
        "stationary point. All but the loss itself pass through each run's own surrogate and windows: "
        "part of a difference between runs is that of the surrogates. empirical_fisher falls as the loss "
        "does.",
        rows,
        partial(_draw, rows, study.labels),
        [tabled(draw.picked(rows, layer=WHOLE), shown)],
    )


def _draw(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    by_layer = draw.distinct([row for row in rows if row["layer"] != WHOLE], "quantity")
    layers = draw.distinct(rows, "layer")  # the whole network is the first
    titles = [
        f"{name}\n{'(no curvature)' if name == 'grad_norm_sq' else 'largest eigenvalue'}" for name in by_layer
    ]
    width = min(6.0, max(3.4, 1.6 + 0.22 * len(layers)))
    figure, (panels,) = draw.columns(titles, ("",), width, 3.6, share=False)
    for axes, name in zip(panels, by_layer, strict=True):
        mine = draw.picked(rows, quantity=name)
        draw.runs_by_layer(axes, mine, "largest", labels, layers)
        draw.log_if_positive(axes, [row["largest"] for row in mine])
        axes.axvline(0.5, color="#BBBBBB", linewidth=0.8)
    return draw.legend_below(figure, panels[0])


def _batches(spreads: Mapping[str, Sequence[BatchSpread]]) -> Panel:
    rows = [
        {"run": label, "samples": spread.size, "number": at, "largest": value}
        for label, sizes in spreads.items()
        for spread in sizes
        for at, value in enumerate(spread.values, start=1)
    ]
    return Panel(
        "curvature-batches",
        "How much depends on the batch",
        f"λmax of the empirical Fisher on {REPEATS} random batches of two sizes out of the same samples: a "
        "difference between runs that is smaller than this scatter shows nothing.",
        "Small batches look sharper whatever the network: compare at one size. Training seeds scatter, too, "
        "and are not in this picture.",
        rows,
        partial(_draw_batches, rows, list(spreads)),
    )


def _draw_batches(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
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
    panels[0].set_yticks(range(len(labels)), labels)
    return figure


def _sharpness(balls: Mapping[str, Sharpness]) -> Panel:
    rows = [
        {"run": label, "way": way, "number": at, "rise": rise}
        for label, ball in balls.items()
        for way, rises in (("ascent", ball.ascent), ("random", ball.random))
        for at, rise in enumerate(rises, start=1)
    ]
    return Panel(
        "sharpness",
        "The worst case in a ball",
        f"Rise of the loss along gradient ascent within {RHO:g} times the norm of each filter (line, step by "
        "step), and in random directions of that length (crosses). The loss is that of the spiking network, "
        "and no derivative is taken twice.",
        "The worst that was found is a lower bound of the worst there is, and the surrogate that searches "
        "for it is each run's own.",
        rows,
        partial(_draw_sharpness, balls),
    )


def _draw_sharpness(balls: Mapping[str, Sharpness]) -> draw.Figure:
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
