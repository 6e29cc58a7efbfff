"""Does the variation of gradients predict curvature? SGV and CV against λmax(F)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from a2sg.analysis.correlation import Correlation, correlate
from a2sg.analysis.inspection_table import number
from a2sg.analysis.probe import find_sites
from a2sg.analysis.report import draw
from a2sg.analysis.report.cases import Case, Study
from a2sg.analysis.report.panel import Panel, Row, Table
from a2sg.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRICE = 8
"""Gradients that the Fisher costs about as much as."""
FEWEST = 5
"""Runs from which on the page shows an interval."""
PAIRS = {"sgv": "SGV", "cv": "CV of δ"}


def prediction(study: Study) -> tuple[Panel | None, dict[str, Correlation], list[str]]:
    """The scatter and rank correlations; what was left out."""
    if not study.affordable(PRICE):
        return None, {}, [study.too_slow("λmax(F) by layer, and what predicts it", PRICE)]
    rows = [row for case in study.cases for row in _rows(case)]
    found: dict[str, Correlation] = {}
    notes: list[str] = []
    for column, text in PAIRS.items():
        for name, within in (
            ("all points", ()),
            ("within a run", ("run",)),
            ("within a layer and step", ("layer", "step")),
        ):
            try:
                found[f"{text} and λmax(F), {name}"] = correlate(
                    rows, column, "lambda", within, seed=study.options.seed
                )
            except InputError as error:
                notes.append(f"No rank correlation of {text}, {name}: {error}.")
    lines = [
        [name, number(one.rho), _interval(one), str(one.points), str(one.clusters)]
        for name, one in found.items()
    ]
    return _panel(rows, study.labels, lines), found, notes


def feeding(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, str]:
    """The layer, of those named, that ran last before each spiking layer.

    Args:
        model: the network; its forward pass runs once.
        inputs: what it takes.
        layers: names of modules.
    """
    modules = dict(model.named_modules())
    found: dict[str, str] = {}
    last = [""]

    def layer_ran(name: str) -> Any:
        return lambda *_: last.__setitem__(0, name)

    def site_runs(name: str) -> Any:
        return lambda *_: found.__setitem__(name, last[0])  # None: a hook that gives something changes inputs

    hooks = [modules[name].register_forward_hook(layer_ran(name)) for name in layers]
    hooks += [modules[name].register_forward_pre_hook(site_runs(name)) for name in find_sites(model)]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {site: layer for site, layer in found.items() if layer}


def _rows(case: Case) -> list[Row]:
    """A row per spiking layer and step, with λmax of the weights that feed it."""
    objective = case.objective
    weighty = [
        name
        for name, block in objective.layers.items()
        if any(objective.parameters[at].dim() > 1 for at in block)
    ]
    fed_by = feeding(case.model, objective.inputs, weighty)
    return [
        {
            "run": case.label,
            "layer": step.layer,
            "weights": fed_by[step.layer],
            "step": step.step,
            "sgv": step.sgv.mean,
            "cv": step.cv.mean,
            "lambda": case.fisher.layers[fed_by[step.layer]].top[0],
        }
        for step in case.variation.steps
        if step.layer in fed_by
    ]


def _interval(found: Correlation) -> str:
    if found.low is None or found.high is None or found.clusters < FEWEST:
        return "too few runs"
    return f"{found.low:.2f} .. {found.high:.2f}"


def _panel(rows: Sequence[Row], labels: Sequence[str], lines: Sequence[Sequence[str]]) -> Panel:
    return Panel(
        "theory-prediction",
        "Does variation predict curvature?",
        "Each point is a layer and step of a run: SGV or CV of its δ on fresh batches against λmax of the "
        "empirical Fisher of the weights that feed it. The table has Spearman's rank correlations, with a "
        "bootstrap interval (95 %) that draws whole runs.",
        "SGV scales with the gradient, and λmax(F) with its square, so that they go together over layers "
        "even if neither has to do with flatness; CV is free of that. λmax is that of a layer, the same "
        "for all its steps. Checkpoints of earlier epochs are not kept. With fewer than about ten runs "
        "the interval is too narrow, and within a layer and step there are no more points than runs.",
        rows,
        partial(_draw, rows, labels),
        [Table(("rank correlation", "Spearman's ρ", "interval", "points", "runs"), lines)],
    )


def _draw(rows: Sequence[Row], labels: Sequence[str]) -> Figure:
    figure, (panels,) = draw.frame(1, len(PAIRS), 5.2, 3.6, sharey=True)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    colours = draw.depths(layers)
    for axes, (column, text) in zip(panels, PAIRS.items(), strict=True):
        for at, label in enumerate(labels):
            for layer in layers:
                mine = [
                    row
                    for row in rows
                    if (row["run"], row["layer"]) == (label, layer) and row[column] is not None
                ]
                axes.scatter(
                    [row[column] for row in mine],
                    [row["lambda"] for row in mine],
                    marker=draw.MARKERS[at % len(draw.MARKERS)],
                    color=colours[layer],
                    s=26,
                    label=draw.short(layer) if at == 0 else None,
                )
        values = [row[column] for row in rows]
        if any(value is not None and value > 0 for value in values):
            axes.set_xscale("log", nonpositive="mask")
        draw.log_if_positive(axes, [row["lambda"] for row in rows])
        axes.set_xlabel(text)
    panels[0].set_ylabel("λmax of the empirical Fisher")
    for at, label in enumerate(labels):
        panels[0].plot([], [], draw.MARKERS[at % len(draw.MARKERS)], color=draw.GREY, label=label)
    draw.legend_below(figure, panels[0], 6)
    return figure
