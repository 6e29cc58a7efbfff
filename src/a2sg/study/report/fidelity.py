"""How near the surrogate gradient is to gradients that exist without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from a2sg.study.measure.fidelity import FidelityRow, own_fidelity, surrogate_fidelity
from a2sg.study.report import draw
from a2sg.study.report.case import Case
from a2sg.study.report.cases import Study
from a2sg.study.report.panel import Panel, Row, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Fidelity of the surrogate gradient"
WINDOWS = (0.25, 0.5, 1.0, 2.0)
OWN_PRICE, PRICE = 6, 200
"""Gradients that a run's own surrogate, and all shapes and windows, cost about as much as."""
NOISE: dict[str, Any] = {"samples": 16, "replicates": 4}
"""Of the finite differences."""
NOISY_SAMPLES = 32
"""Training samples that these are taken on, at most."""


def fidelity(study: Study) -> Section:
    """Cosines of a run's own surrogate gradient, and of every shape and window, with true gradients."""
    notes: list[str] = []
    found: dict[str, list[FidelityRow]] = {}
    every = study.affordable(PRICE)
    if not every:
        notes.append(study.too_slow("surrogate_fidelity (every shape and window)", PRICE))
    if study.options.noise is None:
        notes.append(
            "Finite differences of the expected loss under noise were not asked for: --noise 0.25 has "
            "them for small networks, and takes long."
        )
    if not study.affordable(OWN_PRICE):
        notes.append(study.too_slow("own_fidelity", OWN_PRICE))
        return Section(TITLE, [], notes, {})
    for case in study.over(study.cases, "fidelity"):
        rows = own_fidelity(case.model, case.batch, case.loss)
        if every:
            rows += surrogate_fidelity(case.model, case.batch, case.loss, windows=WINDOWS)
        if study.options.noise is not None:
            rows += _under_noise(case, study)
        found[case.label] = rows
    panels = [_own(found)]
    if every:
        panels.append(_shapes(found, "smoothed"))
    if study.options.noise is not None:
        panels.append(_shapes(found, "noise"))
    glance = {
        label: next(row.cosine for row in rows if (row.shape, row.layer) == ("own", "all"))
        for label, rows in found.items()
    }
    return Section(
        TITLE,
        panels,
        notes,
        {
            "own_fidelity": {k: [r.to_dict() for r in rows if r.shape == "own"] for k, rows in found.items()},
            "surrogate_fidelity": {
                k: [r.to_dict() for r in rows if r.shape != "own"] for k, rows in found.items()
            },
        },
        {"cosine with the smoothed network's gradient": glance},
    )


def _under_noise(case: Case, study: Study) -> list[FidelityRow]:
    """Against finite differences alone: the smoothed network is looked at on all samples."""
    few = case.objective.subset(range(min(NOISY_SAMPLES, len(case.objective))))
    assert study.options.noise is not None
    rows = surrogate_fidelity(
        case.model,
        (few.inputs, few.labels),
        case.loss,
        windows=WINDOWS,
        noises=(study.options.noise,),
        seed=study.options.seed,
        batch_dim=few.samples_dim,
        **NOISE,
    )
    return [row for row in rows if row.reference == "noise"]


def _rows(found: Mapping[str, Sequence[FidelityRow]]) -> list[Row]:
    return [{"run": label, **row.to_dict()} for label, rows in found.items() for row in rows]


def _own(found: Mapping[str, Sequence[FidelityRow]]) -> Panel:
    rows = [row for row in _rows(found) if row["shape"] == "own"]
    return Panel(
        "fidelity-own",
        "Each run's own surrogate, layer by layer",
        "Cosine of the surrogate gradient, shape and windows as trained, with the true gradient of the "
        "smoothed network, whose spikes rise from 0 to 1 as the integral of the surrogate does: 1 if the two "
        "agree. Up to a factor they differ in the forward pass alone, so this says what hard spikes do to "
        "the gradient.",
        "A gradient can be useful without being faithful. Each run has a smoothed network of its own: a wide "
        "window makes an easier one, and a ramp one that fires less. At the end of training the gradient is "
        "small, and the smoothed network is at no minimum of its own.",
        rows,
        partial(_draw_own, rows, list(found)),
    )


def _draw_own(rows: Sequence[Row], labels: Sequence[str]) -> Figure:
    figure, axes = draw.by_layer(rows, "cosine", labels, "cosine with the smoothed network's")
    axes.set_ylim(top=1.02)
    return figure


def _shapes(found: Mapping[str, Sequence[FidelityRow]], reference: str) -> Panel:
    rows = [row for row in _rows(found) if row["shape"] != "own" and row["reference"] == reference]
    about = {
        "smoothed": (
            "Every shape and window: the smoothed network",
            "Cosine of what the gradient of each run's weights would be under other surrogates of area 1, "
            "with that of the network smoothed by the same surrogate; all parameters (the CSV file has "
            "the layers). The dotted line is the run's own.",
            "The weights were trained under the run's own surrogate. A wide surrogate makes another, easier "
            "network of the smoothed one: more cosine is not better training.",
        ),
        "noise": (
            "Every shape and window: the expected loss under noise",
            "Cosine with the gradient of the expected loss under noise on the potentials, by finite "
            f"differences, on at most {NOISY_SAMPLES} samples. That reference knows no surrogate.",
            "The noise has a width and shape, which favour surrogates like it. The estimate is noisy: the "
            "CSV file has standard errors, and the ceiling that the true gradient itself could reach.",
        ),
    }
    title, shows, limits = about[reference]
    return Panel(f"fidelity-{reference}", title, shows, limits, rows, partial(_draw_shapes, rows, found))


def _draw_shapes(rows: Sequence[Row], found: Mapping[str, Sequence[FidelityRow]]) -> Figure:
    whole = draw.picked(rows, layer="all")
    figure, (panels,) = draw.columns(list(found), ("cosine",), 4.8, 3.6)
    for axes, (label, every) in zip(panels, found.items(), strict=True):
        for at, shape in enumerate(draw.distinct(whole, "shape")):
            mine = draw.picked(whole, run=label, shape=shape)
            x, y = ([row[column] for row in mine] for column in ("window", "cosine"))
            draw.plot(axes, x, y, at, draw.marker(at) + draw.line(at), label=shape, markersize=4)
        own = next(row.cosine for row in every if (row.shape, row.layer) == ("own", "all"))
        if own is not None and whole[0]["reference"] == "smoothed":
            axes.axhline(own, color="black", linewidth=1, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(WINDOWS, [f"{window:g}" for window in WINDOWS])
        axes.set_xlabel("window")
    draw.legend_below(figure, panels[0])
    return figure
