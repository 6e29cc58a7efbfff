"""Small charts as SVG or HTML text, to be put into a page unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 240, 110
MARGIN = 14
"""Margin below, for the numbers."""

COLOURS = {"boxcar": "#0072B2", "triangle": "#D55E00", "asymmetric": "#009E73"}
"""Of shapes, by the first word of their names."""


def bars(rows: Iterable[tuple[str, str, float, str]], mark: float) -> str:
    """A bar for each row, with text beside it, or below it on narrow screens.

    Args:
        rows: name, kind (a class of the page's style), share from 0 to 1, and words.
        mark: a share at which every bar has a mark.
    """
    drawn = (
        f'<div class="bar {kind}"><b>{escape(name)}</b>'
        f'<span class="track"><i style="width:{100 * share:.1f}%"></i>'
        f'<s style="left:{100 * mark:.1f}%"></s></span>'
        f"<span>{100 * share:.0f} %</span><em>{escape(words)}</em></div>"
        for name, kind, share, words in rows
    )
    return f'<div class="wide overview">{"".join(drawn)}</div>'


def histogram(counts: Sequence[int], edges: Sequence[float], window: float, title: str) -> str:
    """Potentials about the threshold, with a window shaded.

    There are `2 len(edges) + 2` counts: below the lowest edge, between the edges, and from the highest on.
    The edges are ascending distances, on either side of the threshold.
    """
    inner, reach, floor = counts[1:-1], edges[-1], HEIGHT - MARGIN
    top, across = max(*inner, 1), WIDTH / len(inner)

    def at(x: float) -> float:
        return (min(max(x, -reach), reach) + reach) / (2 * reach) * WIDTH

    steps = [(i * across, floor * (1 - count / top)) for i, count in enumerate(inner)]
    outline = " ".join(f"{x:.1f},{y:.1f} {x + across:.1f},{y:.1f}" for x, y in steps)
    low, high = at(-window), at(window)
    parts = [
        f'<rect class="window" x="{low:.1f}" y="0" width="{high - low:.1f}" height="{floor}"/>',
        f'<polygon class="bars" points="0,{floor} {outline} {WIDTH},{floor}"/>',
        _upright("mark", at(0)),
        *_below(f"{-reach:.3g}", "threshold", f"{reach:.3g}"),
    ]
    beyond = 1 - sum(inner) / max(sum(counts), 1)
    return _chart(parts, f"{title}; {100 * beyond:.1f} % lie beyond")


def curves(
    lines: Mapping[str, Sequence[float | None]],
    windows: Sequence[float],
    used: float,
    best: float | None,
    title: str,
) -> str:
    """Scores by window, ascending, a line for each shape; the last, the layer's own, is emphasised.

    The window in use is marked, and the best one of the layer's own shape if there is one.
    """
    known = [score for line in lines.values() for score in line if score is not None]
    if not known:
        return _chart([_text(WIDTH / 2, "no gradient", "middle")], title)
    low, high, floor = min(known), max(known), HEIGHT - MARGIN

    def place(window: float, score: float) -> tuple[str, str]:
        up = 4 + (floor - 8) * (1 - (score - low) / ((high - low) or 1.0))
        return f"{min(window / windows[-1], 1.0) * WIDTH:.1f}", f"{up:.1f}"

    parts = [_upright("used", min(used / windows[-1], 1.0) * WIDTH)]
    for name, line in lines.items():
        pairs = zip(windows, line, strict=True)
        points = " ".join(",".join(place(window, score)) for window, score in pairs if score is not None)
        colour = COLOURS.get(name.partition(" ")[0], "#707070")
        style = f'style="stroke:{colour}"' if name != "own" else 'class="own"'
        parts.append(f'<polyline {style} points="{points}"><title>{escape(name)}</title></polyline>')
    own = dict(zip(windows, lines["own"], strict=True))
    if best is not None and (score := own.get(best)) is not None:
        x, y = place(best, score)
        parts.append(f'<circle class="best" cx="{x}" cy="{y}" r="4"/>')
    return _chart([*parts, *_below("0", f"{low:.3g} .. {high:.3g}", f"{windows[-1]:.3g}")], title)


def _upright(kind: str, x: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT - MARGIN}"/>'


def _below(left: str, middle: str, right: str) -> list[str]:
    return [_text(0, left, "start"), _text(WIDTH / 2, middle, "middle"), _text(WIDTH, right, "end")]


def _text(x: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 2}" text-anchor="{anchor}">{escape(text)}</text>'


def _chart(parts: Sequence[str], title: str) -> str:
    body = "".join(parts)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg><figcaption>{escape(title)}</figcaption></figure>'
    )
