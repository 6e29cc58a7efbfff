"""The paper's theorems and its bridge from variation to curvature, compared with measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from a2sg.modes import in_mode
from a2sg.study.measure.bridge import bridges
from a2sg.study.measure.theory import Theorems, check_theorems
from a2sg.study.report import draw
from a2sg.study.report.cases import Case, Study
from a2sg.study.report.panel import Panel, Row, Section, Table, panel, rows_of, tabled
from a2sg.study.report.prediction import prediction

PRICE, BRIDGE_PRICE = 60, 3
"""Cost of the theorems' shapes, and of the bridge, in gradients of the samples."""
DEEPEST = 1e3
"""The picture of the bridge extends down to the least λmax divided by this."""
BRIDGE = {"bound": "bound by CV", "trace": "trace", "top": "λmax(F)", "aligned": "left at CV 0"}
"""Quantities of the bridge in the picture."""
COLUMNS = {name: name for name in ("layer", "run", "step")}
COLUMNS |= {
    "CV of δ": "cv",
    "λmax(F)": "top",
    "left at CV 0": "aligned",
    "bound": "bound",
    "trace of F": "trace",
}
"""Columns of its table."""
SHOWN = ("boxcar", "triangle", "asymmetric 0.5", "asymmetric 0.6", "asymmetric 0.8")
"""Shapes in the picture; the CSV file has all."""


def theory(study: Study) -> Section:
    """CV of every shape, κ and the condition, SGV and CV against λmax(F), and the bridge."""
    notes: list[str] = []
    panels: list[Panel] = []
    found: dict[str, Any] = {}
    if study.afford("check_theorems", PRICE, notes):
        found["check_theorems"] = study.each("theory", _checked)
        panels += _of_theorems(found["check_theorems"])
    predicting, numbers, said = prediction(study)
    panels += predicting
    found |= numbers
    notes += said
    if not any(isinstance(module, nn.Linear) for module in study.cases[0].model.modules()):
        notes.append("The bridge covers only dense layers, and this network has none.")
    elif study.afford("bridges", BRIDGE_PRICE, notes):
        found["bridges"] = {case.label: bridges(case.model, case.batch, case.loss) for case in study.cases}
        rows = rows_of(found["bridges"])
        panels.append(panel("theory-bridge", rows, _bridge, study.labels, tables=[tabled(rows, COLUMNS)]))
    return Section("Theory", panels, notes, found)


def _checked(case: Case) -> Theorems:
    with in_mode(case.model, training=True):  # potentials are those of training
        return check_theorems(case.model, case.batch, case.loss)


def _of_theorems(theorems: Mapping[str, Theorems]) -> list[Panel]:
    heads = ["CV of ds/du at one window, measured", "run", "Lκ > σ²"]
    heads += ["less than the triangle", "less than the boxcar"]
    lines = []
    for label, one in theorems.items():
        ramps = {(row.symmetric, row.asymmetric, row.condition): row for row in one.ramps()}
        for (symmetric, asymmetric, condition), row in ramps.items():
            if symmetric == "triangle" and row.total:
                both = (row, ramps["boxcar", asymmetric, condition])
                cells = [f"{cell.less} of {cell.total}" for cell in both]
                lines.append([asymmetric, label, "holds" if condition else "does not", *cells])
    of_shapes = [{"run": label, **row} for label, one in theorems.items() for row in one.rows()]
    shapes = panel("theory-shapes", of_shapes, _shapes, theorems, tables=[Table(heads, lines)])
    rows: list[Row] = [
        {"run": label, **step.row(), "holds": step.condition}
        for label, one in theorems.items()
        for step in one.steps
    ]
    lines = []
    for label in theorems:
        if known := [row for row in draw.picked(rows, run=label) if row["holds"] is not None]:
            counts = [sum(row[column] for row in known) for column in ("holds", "looks_gaussian")]
            lines.append([label, *(f"{count} of {len(known)}" for count in counts)])
    table = Table(("run", "condition holds", "looks Gaussian"), lines)
    return [shapes, panel("theory-condition", rows, _condition, list(theorems), tables=[table])]


def _shapes(rows: Sequence[Row], theorems: Mapping[str, Theorems]) -> draw.Figure:
    """Theorems 4.1 and 4.2: CV of ds/du under each shape

    Each layer's steps from left to right, at the window in use: above for the measured potentials, below for
    a Gaussian with their mean and deviation. The table counts in how many layer-steps an asymmetric shape
    varies less than a symmetric one, separately where the condition of Theorem 4.2 holds and where it does
    not.

    At a given window, no shape can vary less than the boxcar, which is a constant. CV of ds/du is not CV of
    δ, which also depends on the gradients that arrive, and no CV says how training will end.
    """
    texts = ("CV of ds/du, measured", "under the Gaussian")
    figure, grid = draw.columns(list(theorems), texts, 6, 2.6)
    for column, one in enumerate(theorems.values()):
        keys = [(step.layer, step.step) for step in one.steps]
        for row, measure in enumerate(("measured", "gaussian")):
            axes = grid[row][column]
            for at, name in enumerate(SHOWN):
                values = [getattr(step.same_window[name], measure) for step in one.steps]
                fill = "none" if at > 1 else "full"
                draw.plot(axes, range(len(values)), values, at, label=name, markersize=4, fillstyle=fill)
            draw.label_steps(axes, keys)
    return draw.legend_below(figure, grid[0][0], len(SHOWN))


def _condition(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Theorem 4.2: where its condition holds

    κ, the distance from the mean potential up to the window's lower edge, and Lκ/σ², where L is the window's
    width. Above the dotted line, Lκ > σ² holds. Open points belong to potentials that do not look Gaussian
    (skewness beyond ±0.5, or excess kurtosis beyond ±1).

    Where the condition holds, the linear density that the theorem assumes is negative at the window's upper
    edge, so the theorem's assumptions and its condition cannot both hold there.
    """
    texts = {"kappa": "κ", "l_kappa_over_variance": "Lκ/σ²"}
    figure, (_, below) = draw.by_step(rows, texts, labels, 2.1, filled="looks_gaussian")
    below.axhline(1, color="black", linewidth=0.8, linestyle=":")
    return figure


def _bridge(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """The bridge from variation to curvature, on dense layers

    For each dense layer and step: λmax of the Fisher, the part of it that would remain if δ did not vary, the
    bound by CV, and the trace.

    The bound is informative only where it is below the trace, which bounds λmax without any theory. It covers
    only dense layers, and the paper needs a small CV. In a readout whose δ sums to 0 over the classes, only
    rounding keeps the CV from being infinite.
    """
    figure, (panels,) = draw.columns(labels, ("",), 5, 3.2)
    for axes, label in zip(panels, labels, strict=True):
        mine = draw.picked(rows, run=label)
        for at, (name, text) in enumerate(BRIDGE.items()):
            values = [row[name] if row[name] > 0 else None for row in mine]
            draw.plot(axes, range(len(values)), values, at, draw.marker(at) + draw.line(at), label=text)
        draw.log_if_positive(axes, [row["top"] for row in mine])
        if tops := [row["top"] for row in rows if row["top"] > 0]:
            axes.set_ylim(bottom=min(tops) / DEEPEST)  # below are sums that are 0 up to rounding
        draw.label_steps(axes, [(row["layer"], row["step"] or 1) for row in mine])
    return draw.legend_below(figure, panels[0])
