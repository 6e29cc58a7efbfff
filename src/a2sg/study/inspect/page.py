"""The results of an inspection as a page that opens from the disk and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from operator import attrgetter

from a2sg.study.files import versions
from a2sg.study.html import document, folded, heading, paragraph, picture, table
from a2sg.study.inspect import charts
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.inspect.pictures import ABOUT
from a2sg.study.inspect.table import HEADERS, QUESTION, rows, sentences
from a2sg.study.inspect.verdict import FEW, advice
from a2sg.study.measure.diagnosis import LayerDiagnosis, StepDiagnosis
from a2sg.study.measure.gain import LayerGain
from a2sg.study.text import number, share

STYLE = """
.answer { font-size: 1.15em; font-weight: 600 }
.bar { display: grid; grid-template-columns: minmax(6rem, 12rem) minmax(5rem, 16rem) 3.5rem 1fr;
       gap: 0 .8rem; align-items: center; padding: .15rem 0 }
.bar > * { color: var(--ink) } .bar > span:nth-child(3) { text-align: right }
.bar em { font-style: normal } .bar.problem em { color: var(--problem) }
.track { position: relative; height: .9rem; background: var(--faint); border-radius: 2px }
.track i { display: block; height: 100%; background: currentColor; border-radius: 2px }
.bar.problem .track { color: var(--problem) } .bar.note .track { color: var(--note) }
.bar.fine .track { color: var(--fine) }
.track s { position: absolute; top: -2px; bottom: -2px; width: 2px; background: var(--ink) }
@media (max-width: 40rem) {
  .bar { grid-template-columns: 8rem 1fr 3.5rem; padding: .35rem 0 } .bar em { grid-column: 1 / -1 } }
figure { margin: 0; display: inline-block }
figcaption { font-size: 11px; color: var(--soft); max-width: 240px }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; margin: .5rem 0 1rem }
svg { border-bottom: 1px solid var(--faint) }
svg text { font-size: 10px; fill: var(--soft) }
svg polyline { fill: none; stroke-width: 1; opacity: .6 }
svg .own { stroke: var(--ink); stroke-width: 2; opacity: 1 }
svg .window { fill: #0072B2; opacity: .18 } svg .bars { fill: var(--soft) }
svg .mark { stroke: var(--ink); stroke-dasharray: 2 2 }
svg .used { stroke: #0072B2; stroke-width: 2; opacity: .6 }
svg .best { fill: #D55E00 }
summary { cursor: pointer; font-weight: 600; margin: .4rem 0 }
"""
"""Of the charts of layers."""

HEADS = (
    "step", "window", "inside", "dL/ds ≠ 0", "δ ≠ 0", "spikes", "dead", "always", "‖dL/ds‖", "‖δ‖",
    "gain", "time", "weights", "surrogate", "law", "even window", "mean u - Vth", "σ",
    "skewness", "kurtosis", "Gaussian", "κ", "Lκ/σ²",
)  # fmt: skip
"""Of the table of a layer's steps."""


def page(found: InspectionData, pictures: Mapping[str, bytes]) -> str:
    """The page; pictures, PNG by name, become part of it."""
    facts = {**found.facts, "loss": f"{found.facts['loss']:.4g}"}
    said = [f"{key}: {value}" for key, value in facts.items() if key not in ("model", "versions")]
    parts = [
        heading(2, QUESTION),
        paragraph(found.answer, "answer"),
        _overview(found),
        heading(2, "Verdicts"),
        paragraph(f"{found.gains.sentence[0].upper()}{found.gains.sentence[1:]}."),
        _verdicts(found),
        heading(2, "Layers"),
        table(HEADERS, rows(found)),
        paragraph("; ".join(f"{name}: {text}" for name, text in HEADERS.items()) + "."),
        *(f"{heading(3, ABOUT[name])}{picture(png, 'png', ABOUT[name])}" for name, png in pictures.items()),
        heading(2, "Layer by layer"),
        paragraph(
            "The blue upright line is the window in use, and the dot the best one by SGV (at step T) or TGC "
            "(earlier steps). Thick line: the layer's own shape. Blue: boxcar. Orange: triangle. Green: ramp."
        ),
        *map(partial(_layer, found), found.layers.values(), found.gains.layers),
    ]
    about = "; ".join([*said, versions(facts)])
    return document(f"Inspection of {facts['model']}", about, parts, STYLE)


def _overview(found: InspectionData) -> str:
    """The picture that a reader should see first: which neurons get a gradient, and what to change."""
    said = "The bars show which share of a layer's neurons gets a gradient in this batch."
    few = f"Fewer than {100 * FEW:.0f} % (the line) are few."
    shares = {name: layer.mean("passing") for name, layer in found.layers.items()}
    lines = (
        (name, level, shares.get(name, 0.0), words)
        for name, verdicts in found.verdicts.items()
        for level, words in (advice(verdicts),)
    )
    return paragraph(f"{said} {few}") + charts.bars(lines, FEW)


def _verdicts(found: InspectionData) -> str:
    items = [
        f'<li><span class="level {verdict.level}">{verdict.level}</span> '
        f"<b>{escape(name)}</b>: {escape(verdict.text)}</li>"
        for name, verdict in sentences(found)
    ]
    return f"<ul>{''.join(items)}</ul>"


def _layer(found: InspectionData, layer: LayerDiagnosis, gain: LayerGain) -> str:
    drawn = []
    for step in layer.steps:
        title = f"step {step.step}: potentials about the threshold"
        drawn.append(charts.histogram(step.histogram, found.edges, step.window, title))
        last = step.own.tgc is None
        lines = {
            name: _over_least(shape.by_window) if last else shape.by_window
            for name, shape in {**step.shapes, "own": step.own}.items()
        }
        title = f"step {step.step}: {'SGV over its least' if last else 'TGC'} by window"
        drawn.append(charts.curves(lines, found.windows, step.window, step.own.best_window, title))
    about = f"{layer.kind}, {layer.surrogate}, {layer.neurons:,} neurons"
    shown = f'<div class="charts">{"".join(drawn)}</div>'
    return folded(layer.name, paragraph(about), _steps(layer, gain), shown, *map(_shapes, layer.steps))


def _over_least(scores: Sequence[float | None]) -> list[float | None]:
    """SGV as a multiple of its least value, so that shapes of different heights can be compared."""
    least = min((score for score in scores if score), default=None)
    return [None if score is None or least is None else score / least for score in scores]


def _steps(layer: LayerDiagnosis, gain: LayerGain) -> str:
    lines = []
    for step, of in zip(layer.steps, gain.steps, strict=True):
        u = step.potential
        numbers = (step.upstream_norm, step.gradient_norm, of.gain, of.time, of.weights, of.surrogate, of.law)
        cells = [str(step.step), number(step.window)]
        cells += map(share, (step.inside, step.arriving, step.passing))
        cells += [number(step.firing_rate), *map(share, (step.dead, step.saturated))]
        cells += map(number, (*numbers, of.even_window, u.mean, u.deviation, u.skewness, u.kurtosis))
        lines.append([*cells, "yes" if u.gaussian else "no", number(u.kappa), number(u.condition)])
    return table(HEADS, lines)


def _shapes(step: StepDiagnosis) -> str:
    title = f"step {step.step}, window {step.window:.3g}"
    heads = (title, "SGV", "TGC", "CV of δ", "CV of ds/du", "best window", "its score")
    cells = attrgetter("sgv", "tgc", "cv", "surrogate_cv", "best_window", "best_score")
    shapes = {**step.shapes, "own": step.own}
    return table(heads, ([name, *map(number, cells(shape))] for name, shape in shapes.items()))
