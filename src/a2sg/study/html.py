"""Pages that open from the disk and load nothing: the one place that writes HTML around words."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

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
"""

KINDS = {"png": "image/png", "svg": "image/svg+xml"}
"""Of pictures."""


def document(title: str, about: str, parts: Iterable[str], style: str = "") -> str:
    """A page: its title, a paragraph, and parts in HTML, with a style besides the common one."""
    body = "\n".join([heading(1, title), paragraph(about), *parts])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n"
        f"<style>{STYLE}{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def heading(level: int, text: str, name: str = "") -> str:
    """A heading, which links find by its name."""
    identity = f' id="{name}"' if name else ""
    return f"<h{level}{identity}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain words; of a kind that the style knows."""
    of_kind = f' class="{kind}"' if kind else ""
    return f"<p{of_kind}>{escape(text)}</p>"


def folded(summary: str, *parts: str) -> str:
    """Content that is folded until it is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def table(heads: Iterable[str], lines: Iterable[Sequence[str]], longest: int | None = None) -> str:
    """Headers and cells; scrolls if it is wider than the page, and is folded if it is longer than given."""
    lines = list(lines)
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    shown = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return shown if longest is None or len(lines) <= longest else folded(f"{len(lines)} rows", shown)


def picture(content: bytes, kind: str, about: str) -> str:
    """A PNG or SVG that is part of the page, and in words; scrolls by itself on a narrow screen."""
    data = base64.b64encode(content).decode()
    return f'<div class="wide"><img alt="{escape(about)}" src="data:{KINDS[kind]};base64,{data}"></div>'
