"""How much gradients vary: over training, and on fresh batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from a2sg.colours import LAYERS
from a2sg.errors import many
from a2sg.files import read_searches
from a2sg.statistics import mean
from a2sg.study.measure.variation import HistoryPoint, estimate
from a2sg.study.report import draw
from a2sg.study.report.cases import BATCHES, Case, Study
from a2sg.study.report.panel import Row, Section, panel, rows_of, tabled
from a2sg.study.report.search import searches
from a2sg.study.run import run_history

SEARCH_PRICE = 15
"""Cost of a batch's searches, in gradients over as many samples: six passes, all of them observed."""
QUANTITIES = {
    "sgv": ("SGV", True),
    "tgc": ("TGC", False),
    "cv": ("CV of δ", True),
    "sparsity": ("share of δ that is 0", False),
    "norm": ("‖δ‖", True),
}
"""Quantities of a layer and step: description, and whether the axis is logarithmic."""
SIGNALS = "layer parameters norm snr squared_snr=squared squared_snr_error=squared_error batches"
SIGNAL = {"run": "run", "‖g‖ of a mini-batch": "norm", "signal to noise": "snr"}
SIGNAL |= {"its square ± error": "squared_snr±"}
"""Columns of a file, and of the table under it."""


def variation(study: Study) -> Section:
    """SGV, TGC and windows over training; SGV, TGC, CV, sparsity, norm and signal-to-noise now."""
    notes: list[str] = []
    histories: dict[str, list[HistoryPoint]] = {}
    for case in study.over(study.cases, "variation"):
        points = observed(case, notes)
        if points:
            histories[case.label] = points
        _ = case.variation
    steps = {case.label: case.variation.steps for case in study.cases}
    rows = rows_of(steps, f"layer step window {' '.join(QUANTITIES)} surrogate_cv inside")
    every = {case.label: case.variation.signals for case in study.cases}
    signals = rows_of(every, SIGNALS)
    tables = [tabled(draw.picked(signals, layer="all"), SIGNAL)]
    batches, size = study.cases[0].batches, study.options.batch_size
    panels = [
        panel("variation-batches", rows, _steps, study.labels, batches=len(batches), size=size),
        panel("signal-to-noise", signals, _signals, study.labels, tables=tables, most=BATCHES),
    ]
    if histories:
        panels.insert(0, panel("variation-training", rows_of(histories), _training, histories))
    price = SEARCH_PRICE * len(batches) * size / study.options.samples
    more, gains = searches(study) if study.afford("what a search promises", price, notes) else ([], {})
    return Section(
        "Variation of gradients",
        [*panels, *more],
        notes,
        {
            "run_history": histories,
            "batch_variation": {case.label: case.variation for case in study.cases},
            "search_gain": gains,
        },
        _glance(study, together(histories, notes)),
    )


def observed(case: Case, notes: list[str]) -> list[HistoryPoint]:
    """What training observed; the notes say what is left out of it, and why."""
    if case.run.config.windows.policy != "a2sg":
        notes.append(
            f"{case.label}: its windows follow {case.run.config.windows.policy}, which keeps no SGV and TGC."
        )
        return []
    if not read_searches(case.run.folder / "windows.csv", 1):
        notes.append(f"{case.label}: training observed no iteration (windows.every was longer than it).")
        return []
    points = run_history(case.run.folder)
    layers = list(dict.fromkeys(point.layer for point in points))
    if len(layers) <= LAYERS:
        return points
    notes.append(f"{case.label}: windows.csv has {len(layers):,} layers, of which {LAYERS} are shown.")
    kept = set(layers[:LAYERS])
    return [point for point in points if point.layer in kept]


def together(
    histories: Mapping[str, Sequence[HistoryPoint]], notes: list[str]
) -> dict[str, list[HistoryPoint]]:
    """What runs observed at the same iterations: SGV falls with the loss, others do not compare.

    Most runs agree; one that has no iteration with them is left out.
    """
    seen = {label: frozenset(point.iteration for point in points) for label, points in histories.items()}
    often = Counter(seen.values())
    shared = max(often, key=lambda one: often[one], default=frozenset[int]())
    for own in seen.values():
        shared = shared & own or shared
    out = [label for label, own in seen.items() if not own & shared]
    if out:
        notes.append(f"Observed at other iterations, so without SGV and TGC at a glance: {'; '.join(out)}.")
    if any(own != shared for label, own in seen.items() if label not in out):
        notes.append(
            f"At a glance, SGV and TGC are means over {many(len(shared), 'iteration')} that runs share."
        )
    return {
        label: [point for point in points if point.iteration in shared]
        for label, points in histories.items()
        if label not in out
    }


def _glance(
    study: Study, histories: Mapping[str, Sequence[HistoryPoint]]
) -> dict[str, dict[str, float | None]]:
    texts = {"sgv": "SGV at step T, mean over training", "tgc": "TGC before T, mean over training"}
    found = {
        text: {label: estimate(_shown(points, name)).mean for label, points in histories.items()}
        for name, text in texts.items()
    }
    medians: dict[str, float | None] = {}
    for case in study.cases:
        known = [step.cv.mean for step in case.variation.steps if step.cv.mean is not None]
        medians[case.label] = median(known) if known else None
    found["CV of δ, median of layers and steps"] = medians
    snrs = {case.label: case.variation.signals[-1].snr for case in study.cases}
    found["signal to noise of the gradient"] = snrs
    return {what: values for what, values in found.items() if values}


def _shown(points: Sequence[HistoryPoint], name: str) -> list[float]:
    """The values of a quantity that exist; for SGV only those of the last step."""
    last = max(point.step for point in points)
    shown = [getattr(point, name) for point in points if name != "sgv" or point.step == last]
    return [value for value in shown if value is not None]


def _training(rows: Sequence[Row], histories: Mapping[str, Sequence[HistoryPoint]]) -> draw.Figure:
    """Over training

    SGV at the last step and TGC at the earlier steps, for the gradients that training used, and the windows,
    at the observed iterations; below, CV, norm and share of zeros of these gradients, as means over steps.
    A2SG chooses windows that lower SGV and raise TGC on one batch; this shows what is left of that over
    training.

    SGV scales with the gradient, which shrinks as the loss does. So a falling SGV does not mean less
    variation, and runs with other shapes or losses are on another scale.
    """
    every = [point for points in histories.values() for point in points]
    more = [name for name in ("cv", "norm", "sparsity") if any(_shown(every, name))]
    titles = {"sgv": "SGV, step T", "tgc": "TGC, mean of steps t < T", "window": "window, mean of steps"}
    titles |= {name: QUANTITIES[name][0] for name in more}
    figure, grid = draw.columns(list(histories), list(titles.values()), 5.2, 2.0)
    layers = list(dict.fromkeys(point.layer for point in every))
    colours = draw.depths(layers)
    for column, points in enumerate(histories.values()):
        last = max(point.step for point in points)
        for layer in layers:
            for line, name in zip(grid, titles, strict=True):
                found: dict[int, list[float]] = {}
                for point in points:
                    value = getattr(point, name)
                    if point.layer == layer and value is not None and (name != "sgv" or point.step == last):
                        found.setdefault(point.iteration, []).append(value)
                style = {"color": colours[layer], "linewidth": 1, "markersize": 3}
                means = map(mean, found.values())
                draw.plot(line[column], found, means, 0, ".-", label=draw.short(layer), **style)
        grid[-1][column].set_xlabel("iteration")
    for line, name in zip(grid, titles, strict=True):
        if name in QUANTITIES and QUANTITIES[name][1]:
            draw.log_if_positive(line[0], [getattr(point, name) for point in every])
    return draw.legend_below(figure, grid[0][0], 8)


def _steps(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Now, on fresh batches

    Each layer's steps from left to right, on {batches} batches of {size} training samples that are the same
    for all runs, with standard errors. CV and TGC do not depend on the gradient's scale and can be compared
    between runs.

    SGV and ‖δ‖ depend on the scale of gradient and shape. CV is very large where gradients cancel; in a layer
    behind which they sum to 0, it is a ratio of rounding errors.
    """
    known = {name for name in QUANTITIES if any(row[name] is not None for row in rows)}
    shown = {name: text for name, (text, _) in QUANTITIES.items() if name in known}
    figure, panels = draw.by_step(rows, shown, labels, 1.7)
    for axes, name in zip(panels, shown, strict=True):
        if QUANTITIES[name][1]:
            draw.log_if_positive(axes, [row[name] for row in rows])
    return figure


def _signals(rows: Sequence[Row], labels: Sequence[str]) -> draw.Figure:
    """Signal to noise of the weights' gradients

    ‖mean gradient‖ divided by the deviation of a mini-batch's gradient from it, for the modules that hold
    parameters: this is what an optimizer gets. Higher is steadier.

    At a minimum the signal goes to 0 even with a perfect surrogate, and {most} batches give only a rough
    estimate: see the errors.
    """
    return draw.by_layer(rows, "snr", labels, "signal to noise", bottom=0)
