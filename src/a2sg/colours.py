"""What all pictures have in common: their colours, and how they show the names of layers and arms."""

from __future__ import annotations

from a2sg.errors import one_line, shortened

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, distinguishable with any colour vision."""
GREY = "#707070"
NAME = 60
"""Characters of a name that are shown."""
LAYERS = 200
"""Layers that are shown: nobody can read more, and a file may name any number."""


def drawn_name(name: str, most: int = NAME) -> str:
    """A name from a file as a label that shows it: in one line, cut in the middle, and never as a formula.

    Use it once, where the label is given to matplotlib: what it escapes must not be escaped again.
    """
    return one_line(shortened(name, most)).replace(
        "$", r"\$"
    )  # not text.parse_math: logarithmic axes need formulas
