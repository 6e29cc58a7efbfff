"""Choosing a part of a data set by its labels alone: deterministic, and every class in proportion."""

from __future__ import annotations

import numpy as np

from a2sg.errors import InputError, require

HOLDOUT_SEED = 0
"""The held-out part belongs to the data set: it does not follow the seed of a run."""


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first images of every class, in proportion to the classes' sizes.

    Args:
        labels: `[N]`, whole numbers from 0.
        count: how many; all of them if there are fewer.

    Returns:
        `[min(count, N)]`, ascending.
    """
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    firsts = np.cumsum(sizes) - sizes
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - firsts[labels[by_class]]
    # Where each image stands in its class, from 0 to 1: cutting there cuts all classes alike.
    position = (rank + 0.5) / sizes[labels]
    return np.sort(np.lexsort((labels, position))[:count])


def hold_out(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split a training set, drawn at random but always alike.

    Args:
        labels: `[N]`, whole numbers from 0.
        share: of the images to hold out, above 0 and below 1.

    Returns:
        Indices of the rest, and of the held-out images; both ascending.

    Raises:
        InputError: if one of them would be empty.
    """
    count = round(share * len(labels))
    require(
        0 < count < len(labels),
        f"holdout {share} of {len(labels)} training images leaves one part empty: it must be between 0 and 1",
    )
    # RandomState, since numpy promises that its numbers stay the same in every version.
    shuffled = np.random.RandomState(HOLDOUT_SEED).permutation(len(labels))
    held = np.sort(shuffled[spread(labels[shuffled], count)])
    return np.setdiff1d(np.arange(len(labels)), held), held


def require_holdout(share: float) -> float:
    """Return `share`; raise `InputError` unless it is a number of at least 0 and below 1."""
    ok = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share < 1
    if not ok:
        raise InputError(f"holdout must be at least 0 and below 1, not {share!r}")
    return float(share)
