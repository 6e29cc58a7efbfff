"""What the forward pass costs, layer by layer and compared with ReLU, and accuracy against energy."""

from __future__ import annotations

from collections.abc import Sequence

from a2sg.study.measure.energy_table import energy_table
from a2sg.study.report import draw
from a2sg.study.report.cases import Study
from a2sg.study.report.panel import Row, Section, Table, panel, rows_of
from a2sg.study.report.runs import ArmPoint, arm_points


def energy(study: Study) -> Section:
    """Operations and energy per layer, spikes per layer and step, accuracy and energy of all runs."""
    events = study.data.steps is not None
    tables = study.each("energy", lambda case: energy_table(case.model, case.batch[0], real_input=not events))
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
    lines = []
    for label, one in tables.items():
        nanojoules = [f"{energy / 1000:,.1f}" for energy in (one.picojoules, one.relu_picojoules)]
        lines.append([label, f"{one.macs:,.0f}", f"{one.accumulates:,.0f}", *nanojoules, f"{one.ratio:.2f}"])
    whole = Table(("run", "MACs", "accumulates", "nJ", "with ReLU, nJ", "ratio"), lines)
    spikes = rows_of({label: one.spikes for label, one in tables.items()})
    points, arms = [point.to_dict() for point in study.points], arm_points(study.points)
    measure = study.points[0].measure
    return Section(
        "Energy",
        [
            panel("energy", rows, _layers, study.labels, tables=[whole], samples=study.options.samples),
            panel("spikes", spikes, _spikes, study.labels),
            panel("accuracy-energy", points, _tradeoff, arms, measure),
        ],
        [
            f"{label}: the energy leaves out {', '.join(one.uncounted)}."
            for label, one in tables.items()
            if one.uncounted
        ],
        {"energy_table": tables, "run_points": study.points, "arm_points": arms},
        {
            f"test {measure}": {case.label: case.summary[measure] for case in study.cases},
            "energy, nJ per sample": {label: one.picojoules / 1000 for label, one in tables.items()},
            "energy over that with ReLU": {label: one.ratio for label, one in tables.items()},
        },
    )


def _layers(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Energy by layer

    Estimated energy of a forward pass per sample (mean of {samples}): 4.6 pJ per MAC, 0.9 pJ per accumulate,
    one for each spike and connection. Grey: the same network with ReLU, which runs once.

    The estimate covers arithmetic only, without memory traffic and neuron updates; it is not a measurement of
    any chip. It says nothing about the accuracy of the network with ReLU.
    """
    layers = draw.distinct(rows, "layer")
    figure, ((axes,),) = draw.frame(1, 1, min(16.0, 4 + 0.5 * len(layers)), 3.2)
    # The rows of each run have all layers, in order.
    bars = {label: [row["nanojoules"] for row in draw.picked(rows, run=label)] for label in labels}
    bars["with ReLU"] = [row["relu_nanojoules"] for row in draw.picked(rows, run=labels[-1])]
    draw.bars(axes, bars, ["#BBBBBB"])
    draw.label_layers(axes, layers)
    axes.set_ylabel("nJ per sample")
    return draw.legend_below(figure, axes)


def _spikes(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Spikes by layer and step

    Spikes per neuron, with each layer's steps from left to right; an integer spike counts as its level.

    A rate is a mean over neurons: a2sg inspect shows neurons that never fire or always do.
    """
    figure, (axes,) = draw.by_step(rows, {"rate": "spikes per neuron"}, labels, 2.8)
    axes.set_ylim(bottom=0)
    return figure


def _tradeoff(points: Sequence[Row], arms: Sequence[ArmPoint], measure: str) -> draw.Figure:
    """Accuracy against energy

    Test score and energy of every run, from its summary, and the mean of each arm with several runs (ring).
    Up and to the left is better.

    A few runs show tendencies only: a2sg compare has paired differences with their intervals.
    """
    figure, ((axes,),) = draw.frame(1, 1, 6.5, 3.6)
    for at, arm in enumerate(arms):
        mine = draw.picked(points, arm=arm.arm)
        scores = [100 * point["score"] for point in mine]
        draw.plot(axes, [point["energy_nj"] for point in mine], scores, at, label=arm.arm)
        if arm.runs > 1:
            draw.plot(axes, [arm.energy_nj], [100 * arm.score], at, "o", markersize=14, fillstyle="none")
    axes.set_xlabel("energy, nJ per sample (estimate)")
    axes.set_ylabel(f"test {measure}, %")
    axes.ticklabel_format(useOffset=False)
    axes.margins(0.15)
    return draw.legend_below(figure, axes)
