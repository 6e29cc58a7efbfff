"""Small charts as SVG text, which stands in a page as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 240, 110
MARGIN = 14
"""Below, for the numbers."""

COLOURS = {"boxcar": "#0072B2", "triangle": "#D55E00", "asymmetric": "#009E73"}
"""Of shapes, by the first word of their names."""


def histogram(counts: Sequence[int], edges: Sequence[float], window: float, title: str) -> str:
    """Potentials about the threshold, with a window shaded.

    Args:
        counts: below the lowest edge, between the edges, and from the highest on, `2 len(edges) + 2` of them.
        edges: on either side of the threshold, ascending.
        window: half-width.
        title: whose potentials they are.
    """
    inner, reach = counts[1:-1], edges[-1]
    top = max(max(inner), 1)
    across = WIDTH / len(inner)

    def at(x: float) -> float:
        return (min(max(x, -reach), reach) + reach) / (2 * reach) * WIDTH

    floor = HEIGHT - MARGIN
    steps = [(i * across, floor * (1 - count / top)) for i, count in enumerate(inner)]
    outline = " ".join(f"{x:.1f},{y:.1f} {x + across:.1f},{y:.1f}" for x, y in steps)
    total = max(sum(counts), 1)
    low, high = at(-window), at(window)
    parts = [
        f'<rect class="window" x="{low:.1f}" y="0" width="{high - low:.1f}" height="{floor}"/>',
        f'<polygon class="bars" points="0,{floor} {outline} {WIDTH},{floor}"/>',
        f'<line class="mark" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="{floor}"/>',
        _text(0, f"{-reach:.3g}", "start"),
        _text(WIDTH / 2, "threshold", "middle"),
        _text(WIDTH, f"{reach:.3g}", "end"),
    ]
    beyond = 1 - sum(inner) / total
    return _chart(parts, f"{title}; {100 * beyond:.1f} % lie beyond")


def curves(
    lines: Mapping[str, Sequence[float | None]],
    windows: Sequence[float],
    used: float,
    best: float | None,
    title: str,
) -> str:
    """Scores by window, a line for each shape; those before the first stand back.

    Args:
        lines: a score at each window, by shape; the last is the layer's own.
        windows: ascending.
        used: the window in use.
        best: the best window of the layer's own shape, marked; None if there is none.
        title: what the scores are.
    """
    known = [score for line in lines.values() for score in line if score is not None]
    if not known:
        return _chart([_text(WIDTH / 2, "no gradient", "middle")], title)
    low, high = min(known), max(known)
    span, floor = (high - low) or 1.0, HEIGHT - MARGIN

    def across(window: float) -> float:
        return min(window / windows[-1], 1.0) * WIDTH

    def up(score: float) -> float:
        return 4 + (floor - 8) * (1 - (score - low) / span)

    parts = [f'<line class="used" x1="{across(used):.1f}" x2="{across(used):.1f}" y1="0" y2="{floor}"/>']
    for name, line in lines.items():
        points = " ".join(
            f"{across(window):.1f},{up(score):.1f}"
            for window, score in zip(windows, line, strict=True)
            if score is not None
        )
        style = f'style="stroke:{_colour(name)}"' if name != "own" else 'class="own"'
        parts.append(f'<polyline {style} points="{points}"><title>{escape(name)}</title></polyline>')
    own = dict(zip(windows, lines["own"], strict=True))
    if best is not None and (score := own.get(best)) is not None:
        parts.append(f'<circle class="best" cx="{across(best):.1f}" cy="{up(score):.1f}" r="4"/>')
    parts += [_text(0, "0", "start"), _text(WIDTH / 2, f"{low:.3g} .. {high:.3g}", "middle")]
    parts.append(_text(WIDTH, f"{windows[-1]:.3g}", "end"))
    return _chart(parts, title)


def _colour(name: str) -> str:
    return COLOURS.get(name.partition(" ")[0], "#707070")


def _text(x: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 2}" text-anchor="{anchor}">{escape(text)}</text>'


def _chart(parts: Sequence[str], title: str) -> str:
    body = "".join(parts)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg><figcaption>{escape(title)}</figcaption></figure>'
    )
