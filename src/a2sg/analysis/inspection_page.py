"""What an inspection found, as a page that opens from the disk and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from a2sg.analysis import charts
from a2sg.analysis.diagnosis import LayerDiagnosis, StepDiagnosis, Variation
from a2sg.analysis.inspection_table import HEADERS, number, rows, sentences, share

if TYPE_CHECKING:
    from a2sg.analysis.inspection import Inspection

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #8884; --soft: #6b6b6b;
        --problem: #b3261e; --note: #8a6100; --fine: #22753f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --soft: #aaa;
          --problem: #ff8a80; --note: #e0b040; --fine: #6ccf95 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 78rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
.wide { overflow-x: auto; margin: .8rem 0 }
th, td { padding: .2rem .4rem; text-align: right; border-bottom: 1px solid var(--faint); white-space: nowrap }
th:first-child, td:first-child { text-align: left }
ul { padding-left: 1.2rem }
li { margin: .15rem 0 }
.problem { color: var(--problem) } .note { color: var(--note) } .fine { color: var(--fine) }
.level { font-weight: 600; display: inline-block; min-width: 4.5rem }
img { max-width: 100%; background: #fff }
@media (max-width: 40rem) { .wide img { max-width: none; width: 48rem } }
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

ABOUT = {
    "potentials": "Where the potentials are, and what the window holds of them.",
    "gradients": "Who gets a gradient, who fires, and how large the gradient is.",
    "windows": "SGV (least is best) and TGC (most is best) as functions of the window.",
    "shapes": "CV of ds/du under each shape at the window in use, and the condition of Theorem 4.2.",
}
"""By the names of the pictures."""


def page(found: Inspection, pictures: Sequence[Path]) -> str:
    """The page.

    Args:
        found: what it is about.
        pictures: to be shown on it; their content becomes part of it.
    """
    facts = found.facts
    title = f"Inspection of {facts['model']}"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    shown = {**facts, "loss": f"{facts['loss']:.4g}"}
    said = [f"{key}: {value}" for key, value in shown.items() if key not in ("model", "versions")]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape('; '.join([*said, versions]))}</p>",
        "<h2>Verdicts</h2>",
        _verdicts(found),
        "<h2>Layers</h2>",
        _table(HEADERS, rows(found)),
        f"<p>{escape('; '.join(f'{name}: {text}' for name, text in HEADERS.items()))}.</p>",
        *(_picture(path) for path in pictures),
        "<h2>Layer by layer</h2>",
        "<p>Blue is the window in use, the dot the best one by SGV (at step T) or TGC (before). The thick "
        "line is the layer's own shape; blue the boxcar, orange the triangle, green the asymmetric ramp.</p>",
        *(_layer(found, layer) for layer in found.layers.values()),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n"
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _verdicts(found: Inspection) -> str:
    items = [
        f'<li><span class="level {verdict.level}">{verdict.level}</span> '
        f"<b>{escape(name)}</b>: {escape(verdict.text)}</li>"
        for name, verdict in sentences(found)
    ]
    return f"<ul>{''.join(items)}</ul>"


def _layer(found: Inspection, layer: LayerDiagnosis) -> str:
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
    return (
        f"<details><summary>{escape(layer.name)}</summary><p>{escape(about)}</p>{_steps(layer)}"
        f'<div class="charts">{"".join(drawn)}</div>{"".join(map(_shapes, layer.steps))}</details>'
    )


def _over_least(scores: Sequence[float | None]) -> list[float | None]:
    """SGV as a multiple of its least, so that shapes of different heights can be put side by side."""
    least = min((score for score in scores if score), default=None)
    return [None if score is None or least is None else score / least for score in scores]


def _steps(layer: LayerDiagnosis) -> str:
    heads = (
        "step", "window", "inside", "dL/ds ≠ 0", "δ ≠ 0", "spikes", "dead", "always", "‖dL/ds‖", "‖δ‖",
        "‖δ‖/next", "mean u - Vth", "σ", "skewness", "kurtosis", "Gaussian", "κ", "Lκ/σ²",
    )  # fmt: skip

    def cells(step: StepDiagnosis) -> list[str]:
        u = step.potential
        return [
            str(step.step),
            number(step.window),
            *(share(value) for value in (step.inside, step.arriving, step.passing)),
            number(step.firing_rate),
            *(share(value) for value in (step.dead, step.saturated)),
            *(number(value) for value in (step.upstream_norm, step.gradient_norm, step.gradient_ratio)),
            *(number(value) for value in (u.mean, u.deviation, u.skewness, u.kurtosis)),
            "yes" if u.gaussian else "no",
            number(u.kappa),
            number(u.condition),
        ]

    return _table(heads, map(cells, layer.steps))


def _shapes(step: StepDiagnosis) -> str:
    heads = (
        f"step {step.step}, window {step.window:.3g}",
        "SGV",
        "TGC",
        "CV of δ",
        "CV of ds/du",
        "best window",
        "its score",
    )

    def cells(name: str, shape: Variation) -> list[str]:
        values = (shape.sgv, shape.tgc, shape.cv, shape.surrogate_cv, shape.best_window, shape.best_score)
        return [name, *map(number, values)]

    return _table(heads, (cells(name, shape) for name, shape in {**step.shapes, "own": step.own}.items()))


def _table(heads: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    about = ABOUT[path.stem]
    image = f'<img alt="{escape(about)}" src="data:image/png;base64,{content}">'
    return f'<h3>{escape(about)}</h3><div class="wide">{image}</div>'
