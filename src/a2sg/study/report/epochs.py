"""Runs after several of their epochs, where they kept the weights: variation and λmax(F) over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from a2sg.errors import InputError
from a2sg.study.measure.curvature_results import Curvature
from a2sg.study.measure.variation import BatchVariation
from a2sg.study.report import draw
from a2sg.study.report.cases import BATCH_PRICE, WHOLE, Study, spread
from a2sg.study.report.panel import Panel, Row, panel

MOST = 8
"""Maximum number of epochs of a run that are analysed."""
FISHER = 10
"""Cost of the Fisher, in gradients of the samples."""
QUANTITIES = {
    "loss": "loss of the samples",
    "largest": "λmax of the\nempirical Fisher",
    "trace": "its trace",
    "sgv": "SGV, step T",
    "cv": "CV of δ,\nmedian of steps",
}


@dataclass(frozen=True)
class Snapshot:
    """A run, by its label, after an epoch: its Fisher on the samples, its variation on the batches."""

    run: str
    epoch: int
    empirical_fisher: Curvature
    batch_variation: BatchVariation


def snapshots(study: Study) -> tuple[list[Snapshot], list[str]]:
    """Every run after several epochs, including the last; and a note on the choice."""
    notes = []
    options = study.options
    price = FISHER + BATCH_PRICE * len(study.cases[0].batches) * options.batch_size / options.samples
    most = min(MOST, max(1, int(options.budget / (price * study.seconds))))
    chosen = {case.label: spread(case.run.epochs, most) for case in study.cases}
    if all(len(case.run.epochs) == 1 for case in study.cases):
        notes.append(
            "Variation and λmax(F) are those of the end of training: weights of earlier epochs were not kept "
            "(a2sg train --keep_every 5 keeps them)."
        )
    cut: dict[str, list[str]] = {}
    for case in study.cases:
        if len(case.run.epochs) > len(chosen[case.label]):
            numbers = ", ".join(map(str, chosen[case.label]))
            said = f"of the {len(case.run.epochs)} epochs whose weights were kept, analysed: {numbers}"
            cut.setdefault(said, []).append(case.label)
    why = f"at most {MOST} are" if most == MOST else "as many as --budget allows"
    notes += [f"{'; '.join(labels)}: {said} ({why})." for said, labels in cut.items()]
    found = []
    for case, epoch in study.over([(c, e) for c in study.cases for e in chosen[c.label]], "epochs"):
        try:
            with case.at(epoch) as then:
                found.append(Snapshot(case.label, epoch, then.fisher, then.variation))
        except InputError as error:
            notes.append(f"Left out: epoch {epoch} of {case.label}: {error}.")
    return found, notes


def over_epochs(found: Sequence[Snapshot], fed_by: Mapping[str, str], labels: Sequence[str]) -> Panel:
    """Curves over the epochs of all runs, with the weights before each spiking layer."""
    return panel("theory-epochs", [row for one in found for row in _rows(one, fed_by)], _curves, labels)


def _rows(one: Snapshot, fed_by: Mapping[str, str]) -> list[Row]:
    fisher = one.empirical_fisher

    def row(layer: str, weights: str, spectrum: Any, **more: float | None) -> Row:
        place = {"run": one.run, "epoch": one.epoch, "layer": layer, "weights": weights}
        return {**place, "largest": spectrum.top[0], "trace": spectrum.trace, **more}

    rows = [row(WHOLE, WHOLE, fisher.whole, sgv=None, cv=None, loss=fisher.loss)]
    for layer, weights in fed_by.items():
        if steps := [step for step in one.batch_variation.steps if step.layer == layer]:
            known = [step.cv.mean for step in steps if step.cv.mean is not None]
            cv = median(known) if known else None
            rows.append(row(layer, weights, fisher.layers[weights], sgv=steps[-1].sgv.mean, cv=cv, loss=None))
    return rows


def _curves(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Variation and curvature over training

    After each epoch whose weights were kept: the loss on the samples; λmax and trace of the empirical Fisher
    of the weights that feed each spiking layer (black: the whole network); SGV and CV of the layer's δ on
    fresh batches. All runs and epochs use the same samples and batches.

    Gradients shrink as the loss does, and with them λmax, trace and SGV: that they fall together does not
    mean that the minimum is flat. CV does not depend on the gradient's scale.
    """
    from matplotlib.ticker import MaxNLocator

    figure, grid = draw.columns(labels, list(QUANTITIES.values()), 5.2, 1.8)
    layers = [layer for layer in draw.distinct(rows, "layer") if layer != WHOLE]
    colours = {WHOLE: "black", **draw.depths(layers)}
    for line, name in zip(grid, QUANTITIES, strict=True):
        for axes, label in zip(line, labels, strict=True):
            for layer, colour in colours.items():
                mine = [row for row in draw.picked(rows, run=label, layer=layer) if row[name] is not None]
                x, y = ([row[column] for row in mine] for column in ("epoch", name))
                axes.plot(x, y, "o-", color=colour, label=draw.short(layer), linewidth=1.2, markersize=3.5)
        if name != "loss":
            draw.log_if_positive(line[0], [row[name] for row in rows])
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return draw.legend_below(figure, grid[1][0], 8)
