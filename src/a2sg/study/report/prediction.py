"""Does the variation of gradients predict curvature? SGV and CV against λmax(F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import InputError
from a2sg.study.measure.correlation import Correlation, correlate
from a2sg.study.measure.probe import find_sites
from a2sg.study.report import draw
from a2sg.study.report.cases import Study
from a2sg.study.report.epochs import Snapshot, over_epochs, snapshots
from a2sg.study.report.panel import Panel, Row, Table, panel
from a2sg.study.text import number

PRICE = 8
"""Cost of the Fisher, in gradients of the samples."""
FEWEST = 5
"""Least number of runs, or else layers of runs, for which the page shows an interval."""
PAIRS = {"sgv": "SGV", "cv": "CV of δ"}
WITHIN: dict[str, tuple[str, ...]] = {
    "all points": (),
    "within an epoch": ("epoch",),
    "within a run": ("run",),
    "within a run and epoch": ("run", "epoch"),
    "within a layer and step": ("layer", "step"),
    "within a layer and step of a run": ("run", "layer", "step"),
}
"""Columns within which ranks are taken, by their description on the page."""


def prediction(study: Study) -> tuple[list[Panel], dict[str, Any], list[str]]:
    """The scatter with its rank correlations, curves over epochs; plain data; and what was skipped."""
    notes: list[str] = []
    if not study.afford("λmax(F) by layer, and what predicts it", PRICE, notes):
        return [], {}, notes
    found, notes = snapshots(study)
    first = study.cases[0]
    fed_by = feeding(first.model, first.objective.inputs, first.weights)
    rows = [row for one in found for row in _rows(one, fed_by)]
    clusters = "run" if len(study.cases) >= FEWEST else "layer of a run"
    correlations: dict[str, Correlation] = {}
    for column, text in PAIRS.items():
        for name, within in _groupings(rows).items():
            try:
                correlations[f"{text} and λmax(F), {name}"] = correlate(
                    rows, x=column, within=within, cluster=clusters, seed=study.options.seed
                )
            except InputError as error:
                notes.append(f"No rank correlation of {text}, {name}: {error}.")
    lines = [
        [name, number(one.rho), _interval(one), str(one.points), str(one.clusters)]
        for name, one in correlations.items()
    ]
    heads = ["rank correlation", "Spearman's ρ", "interval", "points", f"{clusters.split()[0]}s drawn"]
    drawn = {
        "run": "draws whole runs: it says what other runs would give. With fewer than about ten it is too "
        "narrow.",
        "layer of a run": f"draws layers of these runs, which are fewer than {FEWEST}: it says what other "
        "layers of theirs would give, and nothing about other runs.",
    }[clusters]
    tables = [Table(heads, lines)]
    panels = [panel("theory-prediction", rows, _scatter, study.labels, tables=tables, drawn=drawn)]
    if len({one.epoch for one in found}) > 1:
        panels.append(over_epochs(found, fed_by, study.labels))
    return panels, {"over_epochs": found, "correlate": correlations}, notes


def _groupings(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Those of `WITHIN` that differ for these rows, and leave more than one point per group."""
    found: dict[str, tuple[str, ...]] = {}
    seen = set()
    for name, columns in WITHIN.items():
        numbers: dict[tuple[Any, ...], int] = {}
        groups = tuple(numbers.setdefault(tuple(row[c] for c in columns), len(numbers)) for row in rows)
        if groups not in seen and len(numbers) < len(rows):
            found[name] = columns
        seen.add(groups)
    return found


def feeding(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, str]:
    """The layer, of those named, that ran last before each spiking layer in one forward pass."""
    modules = dict(model.named_modules())
    found: dict[str, str] = {}
    last = [""]

    def layer_ran(name: str, *_: Any) -> None:
        last[0] = name

    def site_runs(name: str, *_: Any) -> None:
        found[name] = last[0]

    hooks = [modules[name].register_forward_hook(partial(layer_ran, name)) for name in layers]
    hooks += [modules[name].register_forward_pre_hook(partial(site_runs, name)) for name in find_sites(model)]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {site: layer for site, layer in found.items() if layer}


def _rows(one: Snapshot, fed_by: Mapping[str, str]) -> list[Row]:
    """A row per spiking layer and step, with λmax of the weights that feed it."""
    return [
        {
            "run": one.run,
            "epoch": one.epoch,
            "layer": step.layer,
            "weights": fed_by[step.layer],
            "layer of a run": f"{fed_by[step.layer]} of {one.run}",
            "step": step.step,
            "sgv": step.sgv.mean,
            "cv": step.cv.mean,
            "lambda": one.empirical_fisher.layers[fed_by[step.layer]].top[0],
        }
        for step in one.batch_variation.steps
        if step.layer in fed_by
    ]


def _interval(found: Correlation) -> str:
    if found.low is None or found.high is None or found.clusters < FEWEST:
        return "too few"
    return f"{found.low:.2f} .. {found.high:.2f}"


def _scatter(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Does variation predict curvature?

    Each point is a layer and step of a run after an epoch (earlier epochs are fainter): SGV or CV of its δ on
    fresh batches, against λmax of the empirical Fisher of the weights that feed it. The table has Spearman's
    rank correlations over all points, and for ranks taken within groups. Within an epoch, they compare layers
    and runs; within a layer and step, epochs and runs; within a layer and step of a run, only epochs.

    SGV scales with the gradient, and λmax(F) with its square, so the two are correlated over layers and over
    training even if neither has to do with flatness; CV does not have this problem. λmax belongs to a layer
    and is the same for all its steps. The interval (95 %, bootstrap) {drawn}
    """
    figure, (panels,) = draw.frame(1, len(PAIRS), 5.2, 3.6, sharey=True)
    layers = draw.distinct(rows, "layer")
    epochs = sorted({row["epoch"] for row in rows})
    colours = draw.depths(layers)
    for axes, (column, text) in zip(panels, PAIRS.items(), strict=True):
        for at, label in enumerate(labels):
            for layer in layers:
                mine = [row for row in draw.picked(rows, run=label, layer=layer) if row[column] is not None]
                x, y = ([row[name] for row in mine] for name in (column, "lambda"))
                faint = [(1 + epochs.index(row["epoch"])) / len(epochs) for row in mine]
                shades = [(*colours[layer][:3], share) for share in faint]
                axes.scatter(x, y, marker=draw.marker(at), color=shades, s=26 if len(epochs) == 1 else 16)
        draw.log_if_positive(axes, [row[column] for row in rows], "x")
        draw.log_if_positive(axes, [row["lambda"] for row in rows])
        axes.set_xlabel(text)
    panels[0].set_ylabel("λmax of the empirical Fisher")
    for layer in layers:
        panels[0].plot([], [], "o", color=colours[layer], label=draw.short(layer))
    for at, label in enumerate(labels):
        panels[0].plot([], [], draw.marker(at), color=draw.GREY, label=label)
    return draw.legend_below(figure, panels[0], 6)
