"""The results of an analysis as a page that opens from the disk and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from a2sg.study.files import versions
from a2sg.study.html import document, heading, paragraph, picture, table
from a2sg.study.report.panel import AnalysisData, Panel

STYLE = """
h2 { margin-top: 2.5rem; border-top: 1px solid var(--faint); padding-top: 1rem }
nav a { margin-right: .8rem; color: inherit }
p { max-width: 60rem }
.limits, .files, .left-out { color: var(--soft) }
.files { font-size: 13px }
.glance td:first-child { white-space: normal }
summary { cursor: pointer }
@media (max-width: 40rem) {
  .wide img { width: auto; max-width: 48rem }
  td:first-child { white-space: normal; min-width: 8rem }
}
"""
"""Style of this page, in addition to that of every page."""
LONGEST = 12
"""Maximum number of rows of a table that is not folded."""


def page(found: AnalysisData, pictures: Mapping[str, bytes]) -> str:
    """The page, with pictures, SVG by the name of the panel."""
    facts = found.facts
    options = facts["options"]
    about = (
        f"Runs: {'; '.join(found.labels)}. T = {facts['steps']}; {options['samples']} training samples, "
        f"batches of {options['batch_size']}, seed {options['seed']}, the same for all runs; "
        f"{facts['device']}, {facts['date']}, {versions(facts)}."
    )
    links = [f'<a href="#{name}">{escape(section.title)}</a> ' for name, section in found.sections.items()]
    parts = [paragraph(text, "left-out") for text in facts["left_out"]]
    parts += [f"<nav>{''.join(links)}</nav>", _glance(found)]
    for name, section in found.sections.items():
        parts.append(heading(2, section.title, name))
        parts += [paragraph(note, "left-out") for note in section.notes]
        parts += [_panel(panel, pictures[panel.name]) for panel in section.panels]
    return document(f"Analysis of {facts['model']} on {facts['data']}", about, parts, STYLE)


def _glance(found: AnalysisData) -> str:
    lines = found.glance_lines()
    if not lines:
        return ""
    said = (
        "The paper's chain of claims, link by link: less variation, more consistent directions, smaller "
        "curvature, better accuracy and energy. One run each: differences may be chance."
    )
    shown = table(("", *found.labels), lines)
    return f"{heading(2, 'At a glance')}{paragraph(said)}<div class='glance'>{shown}</div>"


def _panel(panel: Panel, svg: bytes) -> str:
    return "\n".join(
        [
            heading(3, panel.title),
            paragraph(panel.shows),
            picture(svg, "svg", panel.title),
            *(table(one.heads, one.lines, LONGEST) for one in panel.tables if one.lines),
            paragraph(f"What it cannot show: {panel.limits}", "limits"),
            paragraph(f"{panel.name}.svg, {panel.name}.png, {panel.name}.csv", "files"),
        ]
    )
