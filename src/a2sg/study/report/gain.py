"""Gain: whether gradients reach the first layers as large as they left the last one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from a2sg.modes import in_mode
from a2sg.statistics import mean
from a2sg.study.measure.gain import EVEN, Gains, layer_gains
from a2sg.study.measure.variation import HistoryPoint
from a2sg.study.report import draw
from a2sg.study.report.cases import Case, Study
from a2sg.study.report.panel import Row, Section, panel, rows_of, tabled
from a2sg.study.report.variation import observed

PRICE = 60
"""Cost of the gain, in gradients of the samples."""
BEST = 3
"""Maximum number of remedies in the table of each run."""
REMEDIES = {"run": "run", "shape of all layers": "shape", "window": "window", "first over last": "depth"}


def gain(study: Study) -> Section:
    """The gain of every layer and step, its law, and which window would make the network even."""
    notes: list[str] = []
    histories = {case.label: points for case in study.cases if (points := _history(case))}
    panels = []
    if histories:
        panels.append(
            panel("gain-training", rows_of(histories, "iteration layer step gain"), _training, histories)
        )
    found: dict[str, Gains] = {}
    if study.afford("the gain", PRICE, notes):
        found = study.each("gain", _measured)
        notes += [f"{label}: {gains.sentence}." for label, gains in found.items()]
        rows = _rows(found)
        remedies = rows_of({label: gains.remedies[:BEST] for label, gains in found.items()})
        shown = tabled(remedies, REMEDIES)
        panels.insert(0, panel("gain-depth", rows, _depth, study.labels, tables=[shown], even=f"{EVEN:g}"))
    depths = {label: gains.depth for label, gains in found.items()}
    glance = {"‖δ‖ of the first layer over that of the last": depths} if found else {}
    return Section("Gain", panels, notes, {"layer_gains": found}, glance)


def _measured(case: Case) -> Gains:
    with in_mode(case.model, training=True):  # gradients are those of training
        return layer_gains(case.model, case.batch, case.loss)


def _history(case: Case) -> list[HistoryPoint]:
    """The gain that training observed, if its version recorded it."""
    points = observed(case, [])
    return points if any(point.gain is not None for point in points) else []


def _rows(found: Mapping[str, Gains]) -> list[Row]:
    rows: list[Row] = []
    for label, gains in found.items():
        for layer, product in zip(gains.layers, gains.by_law, strict=True):
            for one in (layer.whole, *layer.steps):
                row: dict[str, Any] = {"run": label, "layer": layer.name, **vars(one)}
                rows.append(row | {"depth_by_law": product if one.step is None else None})
    return rows


def _depth(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Over depth

    The norm of δ on its way back, as a multiple of the last layer's: for all steps together (dots), for each
    step (thin lines), and as predicted by the law rms(f)/std(s), layer by layer (dashed). Inside the green
    band, a factor of {even} either way, gradients count as even. The table has the windows that would make
    gradients most nearly even if every layer had the same shape and window.

    This is the size of gradients on one batch at one moment. An adaptive optimizer divides the scale of each
    weight's gradient away, so an uneven network may train as well. Where layers run side by side, the next
    layer is not the layer behind.
    """
    figure, (line,) = draw.columns(list(labels), ["‖δ‖ over that of the last layer"], 5.2, 3.2)
    for axes, label in zip(line, labels, strict=True):
        whole = draw.picked(rows, run=label, step=None)
        layers = [row["layer"] for row in whole]
        steps = [step for step in draw.distinct(draw.picked(rows, run=label), "step") if step is not None]
        axes.axhspan(1 / EVEN, EVEN, color="#009E73", alpha=0.12, linewidth=0)
        for step in steps:
            known = {row["layer"]: row["depth"] for row in draw.picked(rows, run=label, step=step)}
            axes.plot([known.get(layer) or math.nan for layer in layers], color=draw.colour(0), alpha=0.35)
        axes.plot(
            [row["depth"] or math.nan for row in whole], "o-", color="black", markersize=3, label="all steps"
        )
        law = [row["depth_by_law"] or math.nan for row in whole]
        axes.plot(law, "--", color=draw.colour(1), label="by the law")
        axes.set_yscale("log")
        draw.label_layers(axes, layers)
    return draw.legend_below(figure, line[0], 2)


def _training(rows: Sequence[Row], histories: Mapping[str, Sequence[HistoryPoint]]) -> draw.Figure:
    """Over training

    The gain of every layer on the observed iterations: ‖δ‖ divided by that of the layer behind, as a mean
    over the steps. At 1, gradients keep their size from layer to layer.

    Training moves the gain away from where it was set. A gain that stays the same says nothing about
    accuracy.
    """
    figure, (line,) = draw.columns(list(histories), ["gain"], 5.2, 2.6)
    layers = draw.distinct(rows, "layer")
    colours = draw.depths(layers)
    for axes, label in zip(line, histories, strict=True):
        for layer in layers:
            found: dict[int, list[float]] = {}
            for row in draw.picked(rows, run=label, layer=layer):
                if row["gain"] is not None:
                    found.setdefault(row["iteration"], []).append(row["gain"])
            if found:
                style = {"color": colours[layer], "linewidth": 1, "markersize": 3}
                draw.plot(axes, found, map(mean, found.values()), 0, ".-", label=draw.short(layer), **style)
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set_xlabel("iteration")
    draw.log_if_positive(line[0], [row["gain"] for row in rows])
    return draw.legend_below(figure, line[0], 8)
