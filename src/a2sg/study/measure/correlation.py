"""Does one number vary with another over layers, steps, epochs and runs? Ranks; an interval over runs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from a2sg.errors import require, require_count
from a2sg.statistics import bonferroni
from a2sg.study.measure.result import Result

FEWEST_CLUSTERS = 2


@dataclass(frozen=True)
class Correlation(Result):
    """Spearman's rank correlation of two columns.

    Attributes:
        x: column that is to predict.
        y: column that is predicted.
        within: columns whose values ranks are taken within; () pools all points.
        rho: -1 .. 1; None where either column is constant.
        low: lower end of the interval; None if there are fewer than 2 clusters.
        high: upper end.
        level: confidence of the interval.
        points: how many were used.
        left_out: how many had no number in either column.
        clusters: how many were resampled: runs, or whatever else is not independent.
    """

    x: str
    y: str
    within: tuple[str, ...]
    rho: float | None
    low: float | None
    high: float | None
    level: float
    points: int
    left_out: int
    clusters: int


def correlate(
    points: Sequence[Mapping[str, Any]],
    *,
    x: str = "sgv",
    y: str = "lambda",
    within: Sequence[str] = (),
    cluster: str = "run",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Spearman's rank correlation over rows, with a bootstrap interval that resamples whole runs.

    Points of one run (its layers, steps and epochs) are not independent, so whole runs are resampled: the
    interval says what other runs would give. With few runs it is too narrow (3 runs give only 10 different
    draws); with one there is none. SGV scales with the gradient, so it differs between layers for reasons
    that have nothing to do with curvature: `within=("layer", "step")` ranks each layer and step separately,
    over epochs and runs.

    Args:
        points: rows with the columns named here; such as run, layer, step, epoch, sgv, cv, lambda.
        x: the column that is to predict.
        y: the column that is predicted.
        within: columns; ranks are taken among points that agree in all of them.
        cluster: the column that says which points are not independent.
        level: confidence of the interval, between 0 and 1.
        resamples: of the bootstrap.
        seed: of the resampling.

    Raises:
        InputError: for a missing column, fewer than 3 usable points, or an option out of range.
    """
    bonferroni(level, 1)  # checks it
    require_count("resamples", resamples)
    for column in (x, y, cluster, *within):
        missing = sum(column not in point for point in points)
        require(missing == 0, f"{missing} of {len(points)} points have no column {column!r}")
    usable = [point for point in points if _number(point[x]) and _number(point[y])]
    count = len(usable)
    require(count >= 3, f"a rank correlation needs at least 3 points with {x} and {y}, not {count}")
    a, b = (np.array([float(point[column]) for point in usable]) for column in (x, y))
    group = _codes([tuple(point[column] for column in within) for point in usable])
    run = _codes([point[cluster] for point in usable])
    members = [np.flatnonzero(run == number) for number in range(int(run.max()) + 1)]
    clusters, generator, found = len(members), np.random.default_rng(seed), []
    for _ in range(resamples if clusters >= FEWEST_CLUSTERS else 0):
        drawn = np.concatenate([members[at] for at in generator.integers(clusters, size=clusters)])
        found.append(_rank_correlation(a[drawn], b[drawn], group[drawn]))
    known = [rho for rho in found if rho is not None]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist() if known else (None, None)
    rho, left_out = _rank_correlation(a, b, group), len(points) - count
    return Correlation(x, y, tuple(within), rho, low, high, level, count, left_out, clusters)


def _rank_correlation(a: np.ndarray, b: np.ndarray, group: np.ndarray) -> float | None:
    """Pearson's correlation of ranks taken within groups and centred there; None if either is constant."""
    x, y = _ranks(a, group), _ranks(b, group)
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm > 0 else None


def _ranks(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Ranks within each group, ties sharing their mean, from -½ to ½ so that groups of any size compare."""
    order = np.lexsort((values, group))
    values, group = values[order], group[order]
    of_group = _runs(group[1:] != group[:-1])
    of_tie = _runs((group[1:] != group[:-1]) | (values[1:] != values[:-1]))
    ranks = np.empty(len(values))
    ranks[order] = (_middle(of_tie) - _middle(of_group)) / np.bincount(of_group)[of_group]
    return ranks


def _runs(begins: np.ndarray) -> np.ndarray:
    """For each element the number, from 0, of its run of equal neighbours, given where runs begin."""
    return np.concatenate([[0], np.cumsum(begins)])


def _middle(run: np.ndarray) -> np.ndarray:
    """The mean position of each element's run."""
    count = np.bincount(run)
    return (np.cumsum(count) - (count + 1) / 2)[run]


def _codes(keys: Sequence[Any]) -> np.ndarray:
    """A number from 0 for each distinct key."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys])


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
