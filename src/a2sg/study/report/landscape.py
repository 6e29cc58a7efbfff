"""Slices of the loss, along the same directions for all runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from a2sg.study.measure.landscape import Slice, Statistics, loss_slice
from a2sg.study.report import draw
from a2sg.study.report.cases import Study, spread
from a2sg.study.report.panel import Row, Section, panel

POINTS, ACROSS = 21, 15
"""Places on a line, and along each direction of a plane."""
REACH = 1.0
FORWARD = 0.4
"""Cost of a forward pass, as a share of a gradient."""
ALL = "all layers"
LIMITS = (
    "Random directions miss the few sharp ones: see the worst case and the largest eigenvalues for those. "
    "Each run is cut in units of its own filters."
)
Runs = Mapping[str, Slice]
"""By label."""


def landscape(study: Study) -> Section:
    """Lines through the weights of all layers and of each, and a plane."""
    every, seed = study.cases[0].weights, study.options.seed
    layers = spread(every, int(study.options.budget / (FORWARD * POINTS * study.seconds)))
    notes: list[str] = []
    if len(layers) < len(every):
        notes.append(
            f"The slices of {len(layers)} of the {len(every)} layers were taken, evenly spread: as many as "
            "--budget allows."
        )
    slices: list[tuple[str, Statistics, dict[str, Any], int]] = [
        (ALL, "kept", {}, POINTS),
        (ALL, "re-estimated", {}, 2 * POINTS),
        *((layer, "kept", {"layer": layer}, POINTS) for layer in layers),
        ("plane", "re-estimated", {"dimensions": 2, "points": ACROSS}, 2 * ACROSS**2),
    ]
    planned = [
        one
        for one in slices
        if study.afford(f"the slice of {one[0]} ({one[1]} statistics)", FORWARD * one[3], notes)
    ]
    lines: dict[str, dict[str, dict[str, Slice]]] = {}
    common: dict[str, Any] = {"points": POINTS, "reach": REACH, "seed": seed, "show_progress": False}
    for (moving, statistics, options, _), case in study.over(
        [(plan, case) for plan in planned for case in study.cases], "landscape"
    ):
        found = loss_slice(case.objective, statistics=statistics, **common | options)
        lines.setdefault(moving, {}).setdefault(statistics, {})[case.label] = found
    planes = lines.pop("plane", {}).get("re-estimated", {})
    panels = []
    if whole := lines.get(ALL):
        titled = {f"statistics {name}": runs for name, runs in whole.items()}
        rows = _rows("statistics", whole)
        panels.append(panel("landscape-line", rows, _whole, titled, seed=seed, limits=LIMITS))
    if by_layer := {layer: lines[layer]["kept"] for layer in layers if layer in lines}:
        titled = {draw.short(layer): runs for layer, runs in by_layer.items()}
        panels.append(panel("landscape-layers", _rows("layer", by_layer), _layers, titled, limits=LIMITS))
    if planes:
        rows = [
            {"run": label, "first": a, "second": b, "loss": loss}
            for label, one in planes.items()
            for a, line in zip(one.at, one.losses, strict=True)
            for b, loss in zip(one.at, line, strict=True)
        ]
        panels.append(panel("landscape-plane", rows, _planes, planes, limits=LIMITS))
    return Section("Loss landscape", panels, notes, {"lines": lines, "planes": planes})


def _rows(what: str, lines: Mapping[str, Runs]) -> list[Row]:
    """Every place on every line; a column says which line."""
    return [
        {"run": label, what: name, "at": at, "loss": loss}
        for name, runs in lines.items()
        for label, one in runs.items()
        for at, loss in zip(one.at, one.losses, strict=True)
    ]


def _whole(rows: Sequence[Row], lines: Mapping[str, Runs]) -> draw.Figure:
    """A line through all weights

    Loss along one random direction (seed {seed}), the same for all runs, with each of its filters scaled to
    the run's own. Left: with the running statistics of batch norm, as deployed. Right: with statistics
    computed again at each place, which removes the effect of statistics that no longer fit.

    {limits}
    """
    return _lines(lines, 2)


def _layers(rows: Sequence[Row], lines: Mapping[str, Runs]) -> draw.Figure:
    """Layer by layer

    Loss along the same direction while only the weights of one layer move (with running statistics): it shows
    which layers the loss is sensitive to.

    {limits}
    """
    return _lines(lines, 4)


def _lines(lines: Mapping[str, Runs], columns: int) -> draw.Figure:
    columns = min(columns, len(lines))
    rows = math.ceil(len(lines) / columns)
    width, height = 12 / max(columns, 3), 3.2 if rows == 1 else 2.3
    figure, grid = draw.frame(rows, columns, width, height, sharey=True, sharex=True)
    places = figure.axes
    for axes, (title, runs) in zip(places, lines.items(), strict=False):
        for at, (label, one) in enumerate(runs.items()):
            draw.plot(axes, one.at, one.losses, at, draw.line(at), label=label)
        axes.set_title(draw.drawn_name(title), fontsize=10)
    for axes in places[len(lines) :]:
        axes.set_visible(False)
    for line in grid:
        line[0].set_ylabel("loss")
    for axes in grid[-1]:
        axes.set_xlabel("distance, in filter norms", fontsize=9)
    return draw.legend_below(figure, places[0])


def _planes(rows: Sequence[Row], planes: Runs) -> draw.Figure:
    """A plane through all weights

    Loss over two random directions, the same for all runs and in the same colours; the cross is the trained
    network. Batch norm's statistics are computed again at each place.

    {limits}
    """
    from matplotlib.colors import LogNorm

    figure, (panels,) = draw.columns(list(planes), ("second direction",), 4.4, 3.8)
    known = [row["loss"] for row in rows if row["loss"]]
    norm = LogNorm(min(known), max(known)) if known and min(known) < max(known) else None
    for axes, one in zip(panels, planes.values(), strict=True):
        losses = [[math.nan if loss is None else loss for loss in line] for line in one.losses]
        # The first direction goes across.
        turned = [list(line) for line in zip(*losses, strict=True)]
        mesh = axes.pcolormesh(
            one.at, one.at, turned, norm=norm, cmap="magma_r", shading="nearest", rasterized=True
        )
        if norm:
            levels = [min(known) * (max(known) / min(known)) ** (k / 10) for k in range(1, 10)]
            axes.contour(one.at, one.at, turned, levels=levels, colors="white", linewidths=0.7)
        axes.plot(0, 0, "+", color="#0072B2", markersize=12, markeredgewidth=2)
        axes.set_aspect("equal")
        axes.set_xlabel("first direction")
        axes.grid(visible=False)
    figure.colorbar(mesh, ax=panels, label="loss", pad=0.02, aspect=30)
    return figure
