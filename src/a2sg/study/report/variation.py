"""How much gradients vary: over training, and on fresh batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from a2sg.errors import InputError
from a2sg.statistics import mean
from a2sg.study.measure.variation import HistoryPoint
from a2sg.study.report import draw
from a2sg.study.report.case import Case
from a2sg.study.report.cases import BATCHES, Study
from a2sg.study.report.panel import Panel, Row, Section, Table
from a2sg.study.report.search import searches
from a2sg.study.run import run_history
from a2sg.study.text import number, with_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCH_PRICE = 15
"""Gradients of as many samples that the searches of a batch cost: six passes, all of them observed."""
QUANTITIES = {
    "sgv": ("SGV", True),
    "tgc": ("TGC", False),
    "cv": ("CV of δ", True),
    "sparsity": ("share of δ that is 0", False),
    "norm": ("‖δ‖", True),
}
"""Of a layer and step: what it is, and whether on a logarithmic axis."""


def variation(study: Study) -> Section:
    """SGV, TGC and windows over training; SGV, TGC, CV, sparsity, norm and signal-to-noise now."""
    notes: list[str] = []
    histories: dict[str, list[HistoryPoint]] = {}
    for case in study.over(study.cases, "variation"):
        points = _history(case, notes)
        if points:
            histories[case.label] = points
        _ = case.variation
    panels = [_training(histories)] if histories else []
    panels += [_steps(study), _signals(study)]
    batches = study.cases[0].batches
    price = SEARCH_PRICE * len(batches) * study.options.batch_size / study.options.samples
    if study.affordable(price):
        found_windows, gains = searches(study)
        panels += found_windows
    else:
        gains = {}
        notes.append(study.too_slow("what a search promises", price))
    return Section(
        "Variation of gradients",
        panels,
        notes,
        {
            "run_history": {label: [asdict(p) for p in points] for label, points in histories.items()},
            "batch_variation": {case.label: case.variation.to_dict() for case in study.cases},
            "search_gain": gains,
        },
        _glance(study, histories),
    )


def _history(case: Case, notes: list[str]) -> list[HistoryPoint]:
    if case.run.config.windows.policy != "a2sg":
        notes.append(
            f"{case.label}: its windows follow {case.run.config.windows.policy}, which keeps no SGV and TGC."
        )
        return []
    try:
        return run_history(case.run.folder)
    except InputError:
        notes.append(f"{case.label}: training observed no iteration (windows.every was longer than it).")
        return []


def _glance(
    study: Study, histories: Mapping[str, Sequence[HistoryPoint]]
) -> dict[str, dict[str, float | None]]:
    over = {label: _means(points) for label, points in histories.items()}
    found = {
        "SGV at step T, mean over training": {label: sgv for label, (sgv, _) in over.items()},
        "TGC before T, mean over training": {label: tgc for label, (_, tgc) in over.items()},
    }
    cvs, snrs = {}, {}
    for case in study.cases:
        known = [step.cv.mean for step in case.variation.steps if step.cv.mean is not None]
        cvs[case.label] = median(known) if known else None
        snrs[case.label] = case.variation.signals[-1].snr
    found["CV of δ, median of layers and steps"] = cvs
    found["signal to noise of the gradient"] = snrs
    return {what: values for what, values in found.items() if values}


def _means(points: Sequence[HistoryPoint]) -> tuple[float | None, float | None]:
    last = max(point.step for point in points)
    sgv = [point.sgv for point in points if point.step == last and point.sgv is not None]
    tgc = [point.tgc for point in points if point.tgc is not None]
    return (mean(sgv) if sgv else None), (mean(tgc) if tgc else None)


def _training(histories: Mapping[str, Sequence[HistoryPoint]]) -> Panel:
    rows: list[Row] = [
        {"run": label, **asdict(point)} for label, points in histories.items() for point in points
    ]
    return Panel(
        "variation-training",
        "Over training",
        "SGV at the last step and TGC before it, of the gradients that training used, and the windows, on "
        "the observed iterations; below, CV, norm and share of zeros of these gradients, means over steps. "
        "A2SG lowers SGV and raises TGC among windows of one batch; this is what was left of that over the "
        "training.",
        "SGV scales with the gradient, which shrinks as the loss does: a falling SGV is no sign of less "
        "variation, and runs of other shapes or losses are on another scale.",
        rows,
        partial(_draw_training, histories),
    )


def _draw_training(histories: Mapping[str, Sequence[HistoryPoint]]) -> Figure:
    every = [point for points in histories.values() for point in points]
    more = [name for name in ("cv", "norm", "sparsity") if any(_known(every, name))]
    titles = {"sgv": "SGV, step T", "tgc": "TGC, mean of steps t < T", "window": "window, mean of steps"}
    titles |= {name: QUANTITIES[name][0] for name in more}
    figure, grid = draw.columns(list(histories), list(titles.values()), 5.2, 2.0)
    layers = list(dict.fromkeys(point.layer for point in every))
    colours = draw.depths(layers)
    for column, points in enumerate(histories.values()):
        last = max(point.step for point in points)
        for layer in layers:
            for line, name in zip(grid, titles, strict=True):
                means: dict[int, list[float]] = {}
                for point in points:
                    value = getattr(point, name)
                    if point.layer == layer and value is not None and (name != "sgv" or point.step == last):
                        means.setdefault(point.iteration, []).append(value)
                style: dict[str, Any] = {"color": colours[layer], "label": draw.short(layer)}
                values = [mean(found) for found in means.values()]
                line[column].plot(list(means), values, ".-", linewidth=1, markersize=3, **style)
        grid[-1][column].set_xlabel("iteration")
    for line, name in zip(grid, titles, strict=True):
        if name in QUANTITIES and QUANTITIES[name][1]:
            draw.log_if_positive(line[0], _known(every, name))
    draw.legend_below(figure, grid[0][0], 8)
    return figure


def _known(points: Sequence[HistoryPoint], name: str) -> list[float]:
    return [value for point in points if (value := getattr(point, name)) is not None]


def _steps(study: Study) -> Panel:
    rows = []
    for case in study.cases:
        for step in case.variation.steps:
            row: Row = {"run": case.label, "layer": step.layer, "step": step.step, "window": step.window}
            for name in (*QUANTITIES, "surrogate_cv", "inside"):
                found = getattr(step, name)
                row |= {name: found.mean, f"{name}_error": found.error}
            rows.append(row)
    return Panel(
        "variation-batches",
        "Now, on fresh batches",
        f"Each layer's steps from left to right, on {study.cases[0].variation.batches} batches of "
        f"{study.options.batch_size} training samples that are the same for all runs, with standard errors. "
        "CV and TGC are free of the gradient's scale and compare across runs.",
        "SGV and ‖δ‖ carry the scale of gradient and shape. CV is huge where gradients cancel; in a layer "
        "behind which they sum to 0 it is a ratio of rounding errors.",
        rows,
        partial(_draw_steps, rows, study.labels),
    )


def _draw_steps(rows: Sequence[Row], labels: Sequence[str]) -> Figure:
    shown = {
        name: text for name, (text, _) in QUANTITIES.items() if any(row[name] is not None for row in rows)
    }
    figure, panels = draw.by_step(rows, shown, labels, 1.7)
    for axes, name in zip(panels, shown, strict=True):
        if QUANTITIES[name][1]:
            draw.log_if_positive(axes, [row[name] for row in rows])
    return figure


def _signals(study: Study) -> Panel:
    rows: list[Row] = [
        {
            "run": case.label,
            "layer": signal.layer,
            "parameters": signal.parameters,
            "norm": signal.norm.mean,
            "norm_error": signal.norm.error,
            "snr": signal.snr,
            "squared_snr": signal.squared,
            "squared_snr_error": signal.squared_error,
            "batches": signal.batches,
        }
        for case in study.cases
        for signal in case.variation.signals
    ]
    heads = ("run", "‖g‖ of a mini-batch", "signal to noise", "its square ± error")
    lines = []
    for row in rows:
        if row["layer"] == "all":
            square = with_error(row["squared_snr"], row["squared_snr_error"])
            lines.append([row["run"], number(row["norm"]), number(row["snr"]), square])
    return Panel(
        "signal-to-noise",
        "Signal to noise of the weights' gradients",
        "‖mean gradient‖ over the deviation of a mini-batch's gradient from it, by the modules that hold "
        "parameters: what an optimizer gets. More is steadier.",
        f"At a minimum the signal goes to 0 however good the surrogate is, and {BATCHES} batches know it "
        "roughly: see the errors.",
        rows,
        partial(_draw_signals, rows, study.labels),
        [Table(heads, lines)],
    )


def _draw_signals(rows: Sequence[Row], labels: Sequence[str]) -> Figure:
    figure, axes = draw.by_layer(rows, "snr", labels, "signal to noise")
    axes.set_ylim(bottom=0)
    return figure
