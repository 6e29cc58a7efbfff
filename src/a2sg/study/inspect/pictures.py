"""The results of an inspection as pictures: all layers at a glance."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from a2sg.colours import COLOURS, drawn_name
from a2sg.study.files import drawn, framed
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.measure.diagnosis import StepDiagnosis
from a2sg.study.measure.gain import EVEN
from a2sg.study.measure.variation import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
SENTENCE = 300
"""Characters of a sentence that a picture shows; it may contain names."""
log = logging.getLogger("a2sg")

Rows = Sequence[tuple[str, StepDiagnosis]]
"""Layer and step, from the top."""


def pictures(found: InspectionData) -> dict[str, bytes]:
    """The pictures, PNG by name; without matplotlib none, and a warning."""
    try:
        return {draw.__name__: drawn(draw(found), "png") for draw in PICTURES}
    except ModuleNotFoundError as error:
        log.warning("no pictures, as %s is not installed: pip install 'a2sg[train]'", error.name)
        return {}


def potentials(found: InspectionData) -> Figure:
    """Where the potentials are, and what the window holds of them."""
    rows = _rows(found)
    edges = [-edge for edge in reversed(found.edges)] + [0.0, *found.edges]
    grid = [[count / max(1, sum(step.histogram)) for count in step.histogram[1:-1]] for _, step in rows]
    figure, ((axes,),) = framed(1, 1, 8, 1.6 + _height(rows), DPI)
    mesh = axes.pcolormesh(edges, range(len(rows) + 1), grid, cmap="magma_r", vmin=0)
    for at, (_, step) in enumerate(rows):
        for side in (-step.window, step.window):
            axes.plot([side, side], [at, at + 1], color="#0072B2", linewidth=1.5)
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    _label_rows(axes, rows)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("potential - threshold (dotted), with the window in use (blue)")
    figure.colorbar(mesh, ax=axes, label=f"share per {found.edges[0]:.3g}", pad=0.02, aspect=30)
    figure.suptitle("Potentials by layer and step")
    return figure


def gradients(found: InspectionData) -> Figure:
    """Which neurons get a gradient, which fire, and how large the gradient is."""
    layers = list(found.layers.values())
    figure, (panels,) = framed(1, 3, 4 + max(8.0, 0.5 * len(layers)), 4.4, DPI)
    curves: list[dict[str, list[float]]] = [
        {
            "inside the window": [layer.mean("inside") for layer in layers],
            "dL/ds is not 0": [layer.mean("arriving") for layer in layers],
            "δ is not 0": [layer.mean("passing") for layer in layers],
        },
        {
            "spikes per neuron and step": [layer.mean("firing_rate") for layer in layers],
            "never fire (share of neurons)": [layer.dead for layer in layers],
            "always fire (share of neurons)": [layer.saturated for layer in layers],
        },
        {"‖δ‖": [layer.gradient_norm or math.nan for layer in layers]},
    ]
    for axes, lines in zip(panels, curves, strict=True):
        for colour, style, (label, values) in zip(COLOURS, ("o-", "s--", "^:"), lines.items(), strict=False):
            axes.plot(values, style, color=colour, label=label, markersize=4)
        _label_columns(axes, found)
        _legend_above(axes, 1)
    if any(layer.gradient_norm for layer in layers):
        panels[2].set_yscale("log")
    figure.suptitle("Gradients and spikes by layer, in the order of the forward pass")
    return figure


def gain(found: InspectionData) -> Figure:
    """The gradient's norm on its way back, as a multiple of the last layer's: even, exploding or starving."""
    from matplotlib import colormaps

    layers = found.gains.layers
    figure, ((axes,),) = framed(1, 1, 3 + max(6.0, 0.5 * len(layers)), 4.4, DPI)
    steps = sorted({gain.step or 0 for layer in layers for gain in layer.steps})
    axes.axhspan(1 / EVEN, EVEN, color="#009E73", alpha=0.12, linewidth=0)
    for step in steps if len(steps) > 1 else ():
        depths = [next((gain.depth for gain in layer.steps if gain.step == step), None) for layer in layers]
        colour = colormaps["viridis"](step / len(steps))
        axes.plot(_drawable(depths), "-", color=colour, linewidth=1, label=f"step {step}")
    axes.plot(
        _drawable(layer.whole.depth for layer in layers), "o-", color="black", label="all steps", markersize=4
    )
    axes.plot(found.gains.by_law, "--", color="#D55E00", label="by the law rms(f)/std(s)")
    axes.set_yscale("log")
    axes.set_ylabel("‖δ‖ over that of the last layer")
    _label_columns(axes, found)
    _legend_above(axes, 4)
    figure.suptitle(drawn_name(found.gains.sentence.partition(";")[0], SENTENCE), fontsize=10)
    return figure


def windows(found: InspectionData) -> Figure:
    """SGV (least is best) and TGC (most is best) as functions of the window."""
    last = [row for row in _rows(found) if row[1].own.tgc is None]
    earlier = [row for row in _rows(found) if row[1].own.tgc is not None]
    parts = {"SGV at step T: log10 of its ratio to the least": last, "TGC at the steps before T": earlier}
    parts = {title: rows for title, rows in parts.items() if rows}
    height = 1.8 + max(map(_height, parts.values()))
    figure, (panels,) = framed(1, len(parts), 1 + 5.5 * len(parts), height, DPI)
    half = found.windows[0] / 2
    edges = [half, *(window + half for window in found.windows)]
    for axes, (title, rows) in zip(panels, parts.items(), strict=True):
        colours = "viridis_r" if rows is last else "viridis"
        mesh = axes.pcolormesh(edges, range(len(rows) + 1), [_scores(step) for _, step in rows], cmap=colours)
        for at, (_, step) in enumerate(rows):
            axes.plot([step.window] * 2, [at, at + 1], color="white", linewidth=2)
            if step.own.best_window is not None:
                axes.plot(step.own.best_window, at + 0.5, "o", color="#D55E00", markersize=4, clip_on=False)
        axes.set_xlim(edges[0], edges[-1])
        _label_rows(axes, rows)
        axes.set_xlabel("window: in use (white line), best (dot)")
        axes.set_title(title, fontsize=10)
        figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
    figure.suptitle("What SGV and TGC say about other windows, under the layer's own shape")
    return figure


def shapes(found: InspectionData) -> Figure:
    """CV of ds/du under each shape at the window in use, and the condition of Theorem 4.2."""
    layers = list(found.layers.values())
    figure, ((left, right),) = framed(1, 2, 4 + max(7.0, 0.45 * len(layers)), 4.4, DPI)
    names = list(layers[0].steps[0].shapes)
    for colour, name in zip(COLOURS, names, strict=True):
        found_cvs = [[step.shapes[name].surrogate_cv for step in layer.steps] for layer in layers]
        means = [math.nan if (mean := estimate(cvs).mean) is None else mean for cvs in found_cvs]
        left.plot(means, "o-", color=colour, label=name, markersize=4)
    left.set_ylabel("CV of ds/du, mean over steps")
    for at, layer in enumerate(layers):
        for step in layer.steps:
            fill = "full" if step.potential.gaussian else "none"
            value = step.potential.condition
            right.plot(at, math.nan if value is None else value, "o", color="#0072B2", fillstyle=fill)
    right.axhline(1, color="black", linewidth=0.8, linestyle=":")
    right.set_ylabel("Lκ/σ² by step (open: not Gaussian)")
    for axes in (left, right):
        _label_columns(axes, found)
    _legend_above(left, 4)
    figure.suptitle("Shapes side by side, and the condition of Theorem 4.2")
    return figure


def _rows(found: InspectionData) -> list[tuple[str, StepDiagnosis]]:
    return [(name, step) for name, layer in found.layers.items() for step in layer.steps]


def _scores(step: StepDiagnosis) -> list[float]:
    """TGC, or at step T the logarithm of SGV over its least."""
    scores = [math.nan if score is None else score for score in step.own.by_window]
    if step.own.tgc is not None:
        return scores
    least = min((score for score in scores if score > 0), default=math.nan)
    return [math.log10(score / least) if score > 0 else math.nan for score in scores]


def _drawable(values: Iterable[float | None]) -> list[float]:
    """Values for a logarithmic axis, without those that it cannot show."""
    return [value or math.nan for value in values]


def _label_rows(axes: Axes, rows: Rows) -> None:
    """Name layers beside their rows, from the top, with lines between them."""
    axes.invert_yaxis()
    names = [name for name, _ in rows]
    starts = [at for at, name in enumerate(names) if at == 0 or names[at - 1] != name] + [len(names)]
    for start in starts[1:-1]:
        axes.axhline(start, color="white", linewidth=1.5)
    middles = [(start + end) / 2 for start, end in pairwise(starts)]
    axes.set_yticks(middles, [drawn_name(names[start]) for start in starts[:-1]])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.grid(visible=False)


def _label_columns(axes: Axes, found: InspectionData) -> None:
    """Name layers below."""
    axes.set_xticks(
        range(len(found.layers)),
        list(map(drawn_name, found.layers)),
        rotation=60,
        ha="right",
        rotation_mode="anchor",
    )
    axes.tick_params(axis="x", labelsize=8)


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(frameon=False, fontsize=8, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _height(rows: Rows) -> float:
    """Inches for rows."""
    return max(1.0, min(0.2, 60 / len(rows)) * len(rows))


PICTURES = (gain, potentials, gradients, windows, shapes)
ABOUT = {draw.__name__: draw.__doc__ or "" for draw in PICTURES}
"""What the page says above each."""
