"""How close the surrogate gradient is to gradients that exist without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from a2sg.study.measure.fidelity import FidelityRow, own_fidelity, surrogate_fidelity
from a2sg.study.report import draw
from a2sg.study.report.cases import Case, Study
from a2sg.study.report.panel import Row, Section, panel, rows_of

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
    every = study.afford("surrogate_fidelity (every shape and window)", PRICE, notes)
    noise = study.options.noise
    if noise is None:
        notes.append(
            "Finite differences of the expected loss under noise were not requested: --noise 0.25 adds "
            "them, for small networks; this takes long."
        )
    if not study.afford("own_fidelity", OWN_PRICE, notes):
        return Section(TITLE, [], notes, {})

    def measured(case: Case) -> list[FidelityRow]:
        rows = own_fidelity(case.model, case.batch, case.loss)
        if every:
            rows += surrogate_fidelity(case.model, case.batch, case.loss, windows=WINDOWS)
        return rows if noise is None else rows + _under_noise(case, noise, study.options.seed)

    found = study.each("fidelity", measured)
    own = {label: [row for row in rows if row.shape == "own"] for label, rows in found.items()}
    others = {label: [row for row in rows if row.shape != "own"] for label, rows in found.items()}
    whole = {label: next(row.cosine for row in rows if row.layer == "all") for label, rows in own.items()}
    panels = [panel("fidelity-own", rows_of(own), _own, study.labels)]
    rows = rows_of(others)
    if every:
        panels.append(panel("fidelity-smoothed", draw.picked(rows, reference="smoothed"), _smoothed, whole))
    if noise is not None:
        few = draw.picked(rows, reference="noise")
        panels.append(panel("fidelity-noise", few, _noise, study.labels, samples=NOISY_SAMPLES))
    numbers = {"own_fidelity": own, "surrogate_fidelity": others}
    return Section(TITLE, panels, notes, numbers, {"cosine with the smoothed network's gradient": whole})


def _under_noise(case: Case, noise: float, seed: int) -> list[FidelityRow]:
    """Against finite differences alone: the smoothed network is looked at on all samples."""
    few = case.objective.subset(range(min(NOISY_SAMPLES, len(case.objective))))
    batch, options = (few.inputs, few.labels), {"seed": seed, "batch_dim": few.samples_dim, **NOISE}
    rows = surrogate_fidelity(case.model, batch, case.loss, windows=WINDOWS, noises=(noise,), **options)
    return [row for row in rows if row.reference == "noise"]


def _own(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Each run's own surrogate, layer by layer

    Cosine between the surrogate gradient, with the trained shape and windows, and the true gradient of the
    smoothed network, whose spikes rise from 0 to 1 as the integral of the surrogate does. It is 1 if the two
    agree. Apart from a factor they differ only in the forward pass, so the cosine shows what hard spikes do
    to the gradient.

    A gradient can be useful without being faithful. Each run has its own smoothed network: a wide window
    makes an easier one, and a ramp makes one that fires less. At the end of training the gradient is small,
    and the smoothed network is not at a minimum of its own.
    """
    return draw.by_layer(rows, "cosine", labels, "cosine with the smoothed network's", top=1.02)


def _smoothed(rows: Sequence[Row], own: Mapping[str, float | None]) -> draw.Figure:
    """Every shape and window: the smoothed network

    Cosine between the gradient of each run's weights under other surrogates of area 1 and the gradient of the
    network that is smoothed by the same surrogate, for all parameters together (the CSV file has the layers).
    The dotted line is the run's own surrogate.

    The weights were trained with the run's own surrogate. A wide surrogate makes the smoothed network
    another, easier one: a larger cosine does not mean better training.
    """
    return _by_window(rows, own)


def _noise(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Every shape and window: the expected loss under noise

    Cosine with the gradient of the expected loss under noise on the potentials, computed by finite
    differences on at most {samples} samples. This reference does not involve a surrogate.

    The noise has a width and a shape, and favours surrogates that are like it. The estimate is noisy: the CSV
    file has standard errors, and the ceiling that the true gradient itself could reach.
    """
    return _by_window(rows, dict.fromkeys(labels))


def _by_window(rows: Sequence[Row], lines: Mapping[str, float | None]) -> draw.Figure:
    """A panel for each run, with a line if it has one."""
    whole = draw.picked(rows, layer="all")
    figure, (panels,) = draw.columns(list(lines), ("cosine",), 4.8, 3.6)
    for axes, (label, cosine) in zip(panels, lines.items(), strict=True):
        for at, shape in enumerate(draw.distinct(whole, "shape")):
            mine = draw.picked(whole, run=label, shape=shape)
            x, y = ([row[column] for row in mine] for column in ("window", "cosine"))
            draw.plot(axes, x, y, at, draw.marker(at) + draw.line(at), label=shape, markersize=4)
        if cosine is not None:
            axes.axhline(cosine, color="black", linewidth=1, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(WINDOWS, [f"{window:g}" for window in WINDOWS])
        axes.set_xlabel("window")
    return draw.legend_below(figure, panels[0])
