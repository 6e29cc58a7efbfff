"""What an analysis found, as a page that opens from the disk and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from a2sg.study.html import document, picture, table
from a2sg.study.report.panel import Findings, Panel, Section, Table

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
"""Besides that of every page."""
LONGEST = 12
"""Rows of a table that is not folded."""


def page(found: Findings, pictures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        found: what it is about.
        pictures: SVG by the name of the panel.
    """
    facts = found.facts
    runs = ", ".join(found.labels)
    title = f"Analysis of {facts['model']} on {facts['data']}"
    options = facts["options"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    about = (
        f"{runs}. T = {facts['steps']}; {options['samples']} training samples, batches of "
        f"{options['batch_size']}, seed {options['seed']}, the same for all runs; {facts['device']}, "
        f"{facts['date']}, {versions}."
    )
    links = "".join(
        f'<a href="#{name}">{escape(section.title)}</a> ' for name, section in found.sections.items()
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(about)}</p>",
        *(f'<p class="left-out">{escape(text)}</p>' for text in facts["left_out"]),
        f"<nav>{links}</nav>",
        _glance(found),
    ]
    for name, section in found.sections.items():
        parts += _section(name, section, pictures)
    return document(title, parts, STYLE)


def _glance(found: Findings) -> str:
    lines = found.glance_lines()
    if not lines:
        return ""
    said = (
        "The paper's chain of claims, link by link: less variation, more consistent directions, smaller "
        "curvature, better accuracy and energy. One run each: what differs may be chance."
    )
    shown = table(("", *found.labels), lines)
    return f"<h2>At a glance</h2><p>{escape(said)}</p><div class='glance'>{shown}</div>"


def _section(name: str, section: Section, pictures: Mapping[str, bytes]) -> list[str]:
    return [
        f'<h2 id="{name}">{escape(section.title)}</h2>',
        *(f'<p class="left-out">{escape(note)}</p>' for note in section.notes),
        *(_panel(panel, pictures[panel.name]) for panel in section.panels),
    ]


def _table(one: Table) -> str:
    """A table, folded if it is long."""
    shown = table(one.heads, one.lines)
    if len(one.lines) <= LONGEST:
        return shown
    return f"<details><summary>{len(one.lines)} rows</summary>{shown}</details>"


def _panel(panel: Panel, svg: bytes) -> str:
    return "\n".join(
        [
            f"<h3>{escape(panel.title)}</h3>",
            f"<p>{escape(panel.shows)}</p>",
            picture(svg, "svg", panel.title),
            *(_table(one) for one in panel.tables if one.lines),
            f'<p class="limits">What it cannot show: {escape(panel.limits)}</p>',
            f'<p class="files">{panel.name}.svg, {panel.name}.png, {panel.name}.csv</p>',
        ]
    )
