"""Checks of labels and class names from files, before memory is allocated for as many as they claim."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from a2sg.errors import InputError, require

CLASSES = 100_000
"""Maximum number of classes of a data set; ImageNet's largest version has 21,841."""
LONGEST = 255
"""Maximum number of characters of a name."""
DIGITS = 18
CONTROLS = {"Cc", "Cs"}
"""Unicode categories that a name must not contain: control characters and surrogates."""


def number_in(word: str | None) -> int | None:
    """The whole number, at least 0, that a word of digits stands for; None for any other word."""
    return int(word) if word and word.isdecimal() and len(word) <= DIGITS else None


def require_labels(parts: Sequence[np.ndarray], source: str, classes: int | None = None) -> int:
    """The number of classes of some labels; raises `InputError` for labels that are not class numbers.

    Args:
        parts: labels of each split, `[N]`, whole numbers.
        source: where they come from, for errors.
        classes: number of classes; None counts the labels, none of which may then be missing.
    """
    require(all(part.size for part in parts), f"{source} has a split without labels")
    found = np.unique(np.concatenate([np.unique(part) for part in parts]))
    least, most = int(found[0]), int(found[-1])
    if classes is not None:
        require(
            least >= 0 and most < classes,
            f"{source} must have labels from 0 to {classes - 1}, not {least} to {most}",
        )
        return classes
    require(least >= 0, f"{source} has the label {least}: labels are numbered from 0")
    require(most < CLASSES, f"{source} has the label {most}: labels are numbered from 0, below {CLASSES}")
    if most >= len(found):
        missing = np.setdiff1d(np.arange(most), found)[0]
        raise InputError(
            f"{source} has the label {most} but no {missing}: labels are numbered from 0 without a gap"
        )
    return most + 1


def require_names(names: Iterable[object], source: str) -> tuple[str, ...]:
    """The names of classes; raises `InputError` for a name that is not text of a reasonable length."""
    known = tuple(map(str, names))
    for name in known:
        fits = 0 < len(name) <= LONGEST and not any(unicodedata.category(one) in CONTROLS for one in name)
        require(
            fits,
            f"{source} has a class {name[:LONGEST]!r}: a name has 1 to {LONGEST} characters of text",
        )
    return known
