"""What the pictures of an analysis share: frames, colours, and axes of layers and steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from a2sg.colours import COLOURS
from a2sg.colours import GREY as GREY
from a2sg.colours import drawn_name as drawn_name
from a2sg.study.files import framed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

Rows = Sequence[dict[str, Any]]
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ACROSS = 3
"""Maximum number of columns side by side: with more, each would be too small on any screen."""


def frame(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Panels in a grid; width and height of each in inches."""
    return framed(rows, columns, max(5.0, width * columns), height * rows + 0.6, 110, **options)


def columns(
    titles: Sequence[str], texts: Sequence[str], width: float, height: float, share: bool = True
) -> tuple[Figure, list[list[Axes]]]:
    """A column of panels for each title, such as a run, with a few columns side by side.

    The texts label the panels of a column, whose width and height are in inches; panels side by side may
    share a y axis. Returns the figure, and its panels by text and title.
    """
    across, rows = min(len(titles), ACROSS), len(texts)
    figure, places = frame(rows * math.ceil(len(titles) / across), across, width, height)
    grid = [
        [places[at // across * rows + row][at % across] for at in range(len(titles))] for row in range(rows)
    ]
    used = {id(axes) for line in grid for axes in line}
    for axes in figure.axes:
        axes.set_visible(id(axes) in used)
    for line, text in zip(grid, texts, strict=True):
        for at, axes in enumerate(line):
            if at % across == 0:
                axes.set_ylabel(text, fontsize=9)
            if at and share:
                axes.sharey(line[0])
                axes.tick_params(labelleft=at % across == 0)
            if line is not grid[-1]:
                axes.sharex(grid[-1][at])
                axes.tick_params(labelbottom=False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(drawn_name(title), fontsize=10)
    return figure, grid


def colour(at: int) -> str:
    """The colour of the run, or shape, with this number."""
    return COLOURS[at % len(COLOURS)]


def marker(at: int) -> str:
    """The mark of the run, or shape, with this number."""
    return MARKERS[at % len(MARKERS)]


def line(at: int) -> str:
    """The line style of the run, or shape, with this number."""
    return LINES[at % len(LINES)]


def depths(layers: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """A colour for each layer, dark at the input."""
    from matplotlib import colormaps

    last = max(1, len(layers) - 1)
    return {layer: colormaps["viridis"](0.9 * at / last) for at, layer in enumerate(layers)}


def short(layer: str) -> str:
    """A layer's name without the part that all layers share."""
    for end in (".neuron", ".synapse", ".layer"):
        layer = layer.removesuffix(end)
    return layer or "model"


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> Figure:
    """The figure, with one legend for all panels."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        place: dict[str, Any] = {"loc": "outside lower center", "ncols": min(columns, len(labels))}
        figure.legend(handles, list(map(drawn_name, labels)), frameon=False, fontsize=9, **place)
    return figure


def _turned(axes: Axes, turn: bool) -> None:
    """Names on the x axis, slanted if there are many."""
    if turn:
        axes.tick_params(axis="x", labelrotation=60, labelsize=8)


def label_layers(axes: Axes, layers: Sequence[str]) -> None:
    """Layers on the x axis, one per position."""
    axes.set_xticks(range(len(layers)), [drawn_name(short(name)) for name in layers])
    _turned(axes, len(layers) > 4)


def label_steps(axes: Axes, keys: Sequence[tuple[str, int]]) -> None:
    """Layers on the x axis, with their steps from left to right, and lines between layers."""
    starts, names, at = [], [], 0
    for layer, members in groupby(keys, key=lambda key: key[0]):
        count = len(list(members))
        starts.append(at + (count - 1) / 2)
        names.append(drawn_name(short(layer)))
        at += count
        axes.axvline(at - 0.5, color="#BBBBBB", linewidth=0.8)
    axes.set_xticks(starts, names)
    axes.tick_params(axis="x", length=0)
    _turned(axes, len(names) > 8)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, at - 0.5)


def log_if_positive(axes: Axes, values: Iterable[float | None], axis: str = "y") -> None:
    """A logarithmic axis, if there is anything to show on one."""
    if any(value is not None and value > 0 for value in values):
        axes.set(**{f"{axis}scale": "log"})


def picked(rows: Rows, **columns: Any) -> list[dict[str, Any]]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in columns.items())]


def distinct(rows: Rows, *columns: str) -> list[Any]:
    """The distinct values of a column, or tuples of several columns, in order."""
    values = (tuple(row[name] for name in columns) for row in rows)
    return [value[0] if len(columns) == 1 else value for value in dict.fromkeys(values)]


def plot(
    axes: Axes, x: Iterable[float], y: Iterable[float | None], at: int, style: str = "", **options: Any
) -> None:
    """The line of a run, or shape, in its colour, with its mark or another style; gaps at None."""
    values = [math.nan if value is None else value for value in y]
    axes.plot(list(x), values, style or marker(at), **{"color": colour(at), "markersize": 5, **options})


def bars(axes: Axes, values: Mapping[str, Sequence[float]], last: Sequence[str] = ()) -> None:
    """Bars side by side at every position, by name; `last` are the colours of the last ones."""
    width = 0.8 / len(values)
    colours = [*map(colour, range(len(values) - len(last))), *last]
    for at, (label, heights) in enumerate(values.items()):
        places = [place + (at - (len(values) - 1) / 2) * width for place in range(len(heights))]
        axes.bar(places, heights, width, color=colours[at], label=label)


def runs_by_layer(axes: Axes, rows: Rows, column: str, runs: Sequence[str], layers: Sequence[str]) -> None:
    """A mark per run and layer, from rows with `run`, `layer` and a column of numbers."""
    for at, run in enumerate(runs):
        mine = picked(rows, run=run)
        plot(axes, [layers.index(row["layer"]) for row in mine], [row[column] for row in mine], at, label=run)
    label_layers(axes, layers)


def by_layer(rows: Rows, column: str, runs: Sequence[str], text: str, **limits: Any) -> Figure:
    """One panel of `runs_by_layer`; limits are those of `Axes.set_ylim`."""
    layers = distinct(rows, "layer")
    figure, ((axes,),) = frame(1, 1, min(16.0, 4 + 0.4 * len(layers)), 3.2)
    runs_by_layer(axes, rows, column, runs, layers)
    axes.set_ylabel(text)
    axes.set_ylim(**limits)
    return legend_below(figure, axes)


def by_step(
    rows: Rows, texts: Mapping[str, str], runs: Sequence[str], height: float, filled: str | None = None
) -> tuple[Figure, list[Axes]]:
    """A panel for each of several columns, by its text, with a mark per run, layer and step.

    Rows have `run`, `layer`, `step`, the columns, and `…_error` for columns with an error. Another column may
    say whether a mark is filled; by default all are.
    """
    keys = distinct(rows, "layer", "step")
    figure, grid = frame(len(texts), 1, min(16.0, 3 + 0.28 * len(keys)), height, sharex=True)
    for (axes,), (column, text) in zip(grid, texts.items(), strict=True):
        for at, run in enumerate(runs):
            beside = 0.12 * (at - (len(runs) - 1) / 2)
            for full in (True, False):
                mine = [
                    row
                    for row in picked(rows, run=run)
                    if row[column] is not None and (filled is None or row[filled]) == full
                ]
                x = [keys.index((row["layer"], row["step"])) + beside for row in mine]
                y, errors = [row[column] for row in mine], [row.get(f"{column}_error") or 0.0 for row in mine]
                style: dict[str, Any] = {"fmt": marker(at), "color": colour(at), "markersize": 4}
                style |= {"label": run, "fillstyle": "full"} if full else {"fillstyle": "none"}
                axes.errorbar(x, y, errors, linewidth=1, **style)
        axes.set_ylabel(text, fontsize=9)
        label_steps(axes, keys)
    return legend_below(figure, grid[0][0]), [axes for (axes,) in grid]
