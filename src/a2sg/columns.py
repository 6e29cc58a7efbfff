"""Tables in plain text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]], *, words: bool = False) -> list[str]:
    """Cells in columns; all but the first are right-aligned, unless they are words."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rest = str.ljust if words else str.rjust
    return [
        "  ".join([line[0].ljust(widths[0]), *map(rest, line[1:], widths[1:])]).rstrip() for line in lines
    ]
