"""Slices of the loss, along the same directions for all runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from a2sg.study.measure.landscape import Slice, Statistics, loss_slice
from a2sg.study.report import draw
from a2sg.study.report.cases import Study, spread
from a2sg.study.report.panel import Panel, Row, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS, ACROSS = 21, 15
"""Places on a line, and along each direction of a plane."""
REACH = 1.0
FORWARD = 0.4
"""Of a gradient, that a forward pass costs about."""
WHOLE = "all layers"
LIMITS = (
    "Random directions miss the few sharp ones: see the worst case and the largest eigenvalues for those. "
    "Each run is cut in units of its own filters."
)

Lines = dict[str, dict[str, dict[str, Slice]]]
"""By whose weights move, by the statistics of batch norms, by run."""


def landscape(study: Study) -> Section:
    """Lines through the weights of all layers and of each, and a plane."""
    every = study.cases[0].weights
    layers = spread(every, int(study.options.budget / (FORWARD * POINTS * study.seconds)))
    notes: list[str] = []
    if len(layers) < len(every):
        notes.append(
            f"The slices of {len(layers)} of the {len(every)} layers were taken, evenly spread: as many as "
            "--budget allows."
        )
    slices: list[tuple[str, Statistics, dict[str, Any], int]] = [
        (WHOLE, "kept", {}, POINTS),
        (WHOLE, "re-estimated", {}, 2 * POINTS),
        *((layer, "kept", {"layer": layer}, POINTS) for layer in layers),
        ("plane", "re-estimated", {"dimensions": 2, "points": ACROSS}, 2 * ACROSS**2),
    ]
    planned = []
    for layer, statistics, options, forwards in slices:
        if study.affordable(FORWARD * forwards):
            planned.append((layer, statistics, options))
        else:
            notes.append(
                study.too_slow(f"the slice of {layer} ({statistics} statistics)", FORWARD * forwards)
            )
    lines: Lines = {}
    for (layer, statistics, options), case in study.over(
        [(plan, case) for plan in planned for case in study.cases], "landscape"
    ):
        lines.setdefault(layer, {}).setdefault(statistics, {})[case.label] = loss_slice(
            case.objective,
            **{"points": POINTS, "reach": REACH, "seed": study.options.seed, **options},
            statistics=statistics,
            show_progress=False,
        )
    planes = lines.pop("plane", {}).get("re-estimated", {})
    panels = []
    if WHOLE in lines:
        panels.append(_whole(lines[WHOLE], study))
    by_layer = {layer: lines[layer]["kept"] for layer in layers if layer in lines}
    if by_layer:
        panels.append(_layers(by_layer, study))
    if planes:
        panels.append(_plane(planes, study))
    return Section(
        "Loss landscape",
        panels,
        notes,
        {
            "lines": {
                layer: {
                    statistics: {label: one.to_dict() for label, one in runs.items()}
                    for statistics, runs in by_statistics.items()
                }
                for layer, by_statistics in lines.items()
            },
            "planes": {label: one.to_dict() for label, one in planes.items()},
        },
    )


def _rows(what: str, lines: Mapping[str, Mapping[str, Slice]]) -> list[Row]:
    """Every place on every line; what the lines are told apart by is a column."""
    return [
        {"run": label, what: name, "at": at, "loss": loss}
        for name, runs in lines.items()
        for label, one in runs.items()
        for at, loss in zip(one.at, one.losses, strict=True)
    ]


def _whole(lines: Mapping[str, Mapping[str, Slice]], study: Study) -> Panel:
    rows = _rows("statistics", lines)
    return Panel(
        "landscape-line",
        "A line through all weights",
        f"Loss along one random direction (seed {study.options.seed}), the same for all runs, each filter "
        "of it scaled to the run's own. Left with the running statistics of batch norm, as deployed; "
        "right with statistics taken anew at each place, which leaves out what comes of statistics that "
        "no longer fit.",
        LIMITS,
        rows,
        partial(_draw_lines, {f"statistics {name}": runs for name, runs in lines.items()}, 2, study.labels),
    )


def _layers(lines: Mapping[str, Mapping[str, Slice]], study: Study) -> Panel:
    rows = _rows("layer", lines)
    return Panel(
        "landscape-layers",
        "Layer by layer",
        "Loss along the same direction with the weights of one layer moving at a time (running statistics "
        "kept): which layers the loss is sensitive to.",
        LIMITS,
        rows,
        partial(_draw_lines, {draw.short(layer): runs for layer, runs in lines.items()}, 4, study.labels),
    )


def _draw_lines(lines: Mapping[str, Mapping[str, Slice]], columns: int, labels: Sequence[str]) -> Figure:
    columns = min(columns, len(lines))
    rows = math.ceil(len(lines) / columns)
    figure, grid = draw.frame(
        rows, columns, 12 / max(columns, 3), 3.2 if rows == 1 else 2.3, sharey=True, sharex=True
    )
    places = [axes for line in grid for axes in line]
    for axes, (title, runs) in zip(places, lines.items(), strict=False):
        for at, (label, one) in enumerate(runs.items()):
            draw.plot(axes, one.at, one.losses, at, draw.line(at), label=label)
        axes.set_title(title, fontsize=10)
    for axes in places[len(lines) :]:
        axes.set_visible(False)
    for line in grid:
        line[0].set_ylabel("loss")
    for axes in grid[-1]:
        axes.set_xlabel("distance, in filter norms", fontsize=9)
    draw.legend_below(figure, places[0])
    return figure


def _plane(planes: Mapping[str, Slice], study: Study) -> Panel:
    rows = [
        {"run": label, "first": a, "second": b, "loss": loss}
        for label, one in planes.items()
        for a, line in zip(one.at, one.losses, strict=True)
        for b, loss in zip(one.at, line, strict=True)
    ]
    return Panel(
        "landscape-plane",
        "A plane through all weights",
        "Loss over two random directions, the same for all runs and on the same colours; the cross is the "
        "trained network. Batch norm's statistics are taken anew at each place.",
        LIMITS,
        rows,
        partial(_draw_planes, planes),
    )


def _draw_planes(planes: Mapping[str, Slice]) -> Figure:
    from matplotlib.colors import LogNorm

    figure, (panels,) = draw.columns(list(planes), ("second direction",), 4.4, 3.8)
    known = [loss for one in planes.values() for line in one.losses for loss in line if loss]
    norm = LogNorm(min(known), max(known)) if known and min(known) < max(known) else None
    for axes, one in zip(panels, planes.values(), strict=True):
        losses = [[math.nan if loss is None else loss for loss in line] for line in one.losses]
        # The first direction goes across.
        turned = [list(line) for line in zip(*losses, strict=True)]
        mesh = axes.pcolormesh(
            one.at, one.at, turned, norm=norm, cmap="magma_r", shading="nearest", rasterized=True
        )
        levels = [min(known) * (max(known) / min(known)) ** (k / 10) for k in range(1, 10)] if norm else []
        if levels:
            axes.contour(one.at, one.at, turned, levels=levels, colors="white", linewidths=0.7)
        axes.plot(0, 0, "+", color="#0072B2", markersize=12, markeredgewidth=2)
        axes.set_aspect("equal")
        axes.set_xlabel("first direction")
        axes.grid(visible=False)
    figure.colorbar(mesh, ax=panels, label="loss", pad=0.02, aspect=30)
    return figure
