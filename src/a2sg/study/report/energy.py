"""What the forward pass costs, layer by layer and beside ReLU, and accuracy against energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from a2sg.study.measure.energy_table import EnergyTable, energy_table
from a2sg.study.report import draw
from a2sg.study.report.cases import Study
from a2sg.study.report.panel import Panel, Row, Section, Table, rows_of
from a2sg.study.report.tradeoff import ArmPoint, RunPoint, arm_points


def energy(study: Study) -> Section:
    """Operations and energy per layer, spikes per layer and step, accuracy and energy of all runs."""
    events = study.data.steps is not None
    tables = study.each("energy", lambda case: energy_table(case.model, case.batch[0], real_input=not events))
    arms = arm_points(study.points)
    measure = study.points[0].measure
    return Section(
        "Energy",
        [_layers(study, tables), _spikes(tables), _tradeoff(study.points, arms, measure)],
        [],
        {"energy_table": tables, "run_points": study.points, "arm_points": arms},
        {
            f"test {measure}": {case.label: case.summary[measure] for case in study.cases},
            "energy, nJ per sample": {label: one.picojoules / 1000 for label, one in tables.items()},
            "energy over that with ReLU": {label: one.ratio for label, one in tables.items()},
        },
    )


def _layers(study: Study, tables: Mapping[str, EnergyTable]) -> Panel:
    rows = [
        {
            "run": label,
            "layer": layer.layer,
            "macs": layer.macs,
            "accumulates": layer.accumulates,
            "nanojoules": layer.picojoules / 1000,
            "relu_macs": layer.relu_macs,
            "relu_nanojoules": layer.relu_picojoules / 1000,
            "ratio": layer.ratio,
        }
        for label, one in tables.items()
        for layer in one.layers
    ]
    heads = ("run", "MACs", "accumulates", "nJ", "with ReLU, nJ", "ratio")
    lines = []
    for label, one in tables.items():
        nanojoules = [f"{energy / 1000:,.1f}" for energy in (one.picojoules, one.relu_picojoules)]
        lines.append([label, f"{one.macs:,.0f}", f"{one.accumulates:,.0f}", *nanojoules, f"{one.ratio:.2f}"])
    return Panel(
        "energy",
        "Energy by layer",
        f"Estimated energy of a sample's forward pass (mean of {study.options.samples}): 4.6 pJ a MAC, 0.9 "
        "pJ an accumulate, per spike and connection. Grey: the same network with ReLU, which runs once.",
        "It is arithmetic alone, without memory traffic and neuron updates, and no measurement of any chip. "
        "The accuracy of the network with ReLU is another matter.",
        rows,
        partial(_draw_layers, rows, list(tables)),
        [Table(heads, lines)],
    )


def _draw_layers(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    layers = draw.distinct(rows, "layer")
    figure, ((axes,),) = draw.frame(1, 1, min(16.0, 4 + 0.5 * len(layers)), 3.2)
    # Rows of a run have all layers, in their order.
    bars = {label: [row["nanojoules"] for row in draw.picked(rows, run=label)] for label in labels}
    bars["with ReLU"] = [row["relu_nanojoules"] for row in draw.picked(rows, run=labels[-1])]
    draw.bars(axes, bars, ["#BBBBBB"])
    draw.label_layers(axes, layers)
    axes.set_ylabel("nJ per sample")
    return draw.legend_below(figure, axes)


def _spikes(tables: Mapping[str, EnergyTable]) -> Panel:
    rows = rows_of({label: one.spikes for label, one in tables.items()})
    return Panel(
        "spikes",
        "Spikes by layer and step",
        "Spikes per neuron, each layer's steps from left to right; an integer spike counts its level.",
        "A rate is a mean over neurons: dead and always-firing neurons are shown by a2sg inspect.",
        rows,
        lambda: draw.by_step(
            rows, {"rate": "spikes per neuron"}, list(tables), 2.8, lambda axes, _: axes.set_ylim(bottom=0)
        ),
    )


def _tradeoff(points: Sequence[RunPoint], arms: Sequence[ArmPoint], measure: str) -> Panel:
    return Panel(
        "accuracy-energy",
        "Accuracy against energy",
        "Every run's test score and energy, from its summary, and the means of arms with several runs "
        "(ring). Up and to the left is better.",
        "A few runs show tendencies: a2sg compare has paired differences with their intervals.",
        [point.to_dict() for point in points],
        partial(_draw_tradeoff, points, arms, measure),
    )


def _draw_tradeoff(points: Sequence[RunPoint], arms: Sequence[ArmPoint], measure: str) -> draw.Figure:
    figure, ((axes,),) = draw.frame(1, 1, 6.5, 3.6)
    for at, arm in enumerate(arms):
        mine = [point for point in points if point.arm == arm.arm]
        draw.plot(axes, [p.energy_nj for p in mine], [100 * p.score for p in mine], at, label=arm.arm)
        if arm.runs > 1:
            draw.plot(axes, [arm.energy_nj], [100 * arm.score], at, "o", markersize=14, fillstyle="none")
    axes.set_xlabel("energy, nJ per sample (estimate)")
    axes.set_ylabel(f"test {measure}, %")
    axes.ticklabel_format(useOffset=False)
    axes.margins(0.15)
    return draw.legend_below(figure, axes)
