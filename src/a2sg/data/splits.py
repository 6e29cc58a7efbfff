"""Choosing part of a data set from its labels: deterministic, with every class in proportion."""

from __future__ import annotations

import numpy as np

from a2sg.errors import InputError, require

HOLDOUT_SEED = 0
"""Fixed, so that the held-out part does not depend on the seed of a run."""


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first images of every class, in proportion to the classes' sizes.

    Args:
        labels: `[N]`, whole numbers from 0.
        count: how many images; all if there are fewer.

    Returns:
        `[min(count, N)]`, ascending.
    """
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    firsts = np.cumsum(sizes) - sizes
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - firsts[labels[by_class]]
    # Position of each image in its class, from 0 to 1: one cut keeps the same share of every class.
    position = (rank + 0.5) / sizes[labels]
    return np.sort(np.lexsort((labels, position))[:count])


def hold_out(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split a training set at random, but always in the same way.

    Args:
        labels: `[N]`, whole numbers from 0.
        share: of the images to hold out, above 0 and below 1.

    Returns:
        Indices of the remaining and of the held-out images, both ascending.

    Raises:
        InputError: if one of them would be empty.
    """
    count = round(share * len(labels))
    require(
        0 < count < len(labels),
        f"holdout {share} of {len(labels)} training images leaves one part empty: it must be between 0 and 1",
    )
    # RandomState, because numpy guarantees the same numbers in every version.
    shuffled = np.random.RandomState(HOLDOUT_SEED).permutation(len(labels))
    held = np.sort(shuffled[spread(labels[shuffled], count)])
    return np.setdiff1d(np.arange(len(labels)), held), held


def require_holdout(share: float) -> float:
    """Return `share`, or raise `InputError` unless it is a number at least 0 and below 1."""
    ok = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share < 1
    if not ok:
        raise InputError(f"holdout must be at least 0 and below 1, not {share!r}")
    return float(share)
