"""What runs are judged by: its name in their files, and its words in tables and pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A number of at most 1, larger is better."""

    name: str
    """Field of `summary.json`; `metrics.csv` has the columns `train_NAME` and `test_NAME`."""
    text: str
    """Its name in tables and pictures."""


SCORES = {
    "classification": Score("accuracy", "accuracy"),
    "segmentation": Score("miou", "mIoU"),
    "regression": Score("r2", "R²"),
}
"""By the task of the data set."""


def score_in(fields: Collection[str], prefix: str = "") -> Score:
    """The score that a summary has, or with the prefix `test_` a row of `metrics.csv`; accuracy if none."""
    found = (score for score in SCORES.values() if prefix + score.name in fields)
    return next(found, SCORES["classification"])
