"""What a few seeds can show: mean, spread, and paired differences with a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from a2sg.errors import InputError, require, require_count

BETTER, WORSE, SAME = "better", "worse", "no difference shown"
ROUNDING = 1e-6
"""Share of the values below which their differences are equal: accuracies are float32."""
ONE_SEED, NO_SPREAD = "one seed: no interval", "no spread: no interval"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one finite number."""
    _require_numbers(values)
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for a single value."""
    center = mean(values)
    if len(values) == 1:
        return None
    return math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Difference:
    """A paired difference and what it shows. Higher is better.

    Attributes:
        pairs: how many.
        mean: mean difference, in the unit of the values.
        low: lower end of the confidence interval; None where the data give none.
        high: upper end.
        level: the interval's confidence, such as 0.95.
        verdict: `BETTER`, `WORSE`, `SAME` (the interval holds 0, or every pair is equal), `ONE_SEED`, or
            `NO_SPREAD`: all differences are equal but not 0. Student's t would claim certainty there, but
            for a few seeds it only says that accuracies come in steps of one sample.
    """

    pairs: int
    mean: float
    low: float | None
    high: float | None
    level: float
    verdict: str


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], level: float = 0.95, comparisons: int = 1
) -> Difference:
    """The mean of `values` minus `baseline`, pair by pair, with a two-sided Student-t interval.

    The interval assumes that the differences are near enough to normal, and that pairs share what is
    not of interest (here the seed: initial weights and order of the data).

    Args:
        values: one number per seed.
        baseline: the same, in the same order.
        level: confidence of the interval, between 0 and 1.
        comparisons: more than 1 narrows the chance of error per interval by Bonferroni, so that this many
            intervals hold together with at least confidence `level`.

    Raises:
        InputError: for unequal numbers of values, no values, a value that is not a finite number, or an
            option out of range.
    """
    require(
        len(values) == len(baseline),
        f"a paired difference needs as many values as baseline values, not {len(values)} and {len(baseline)}",
    )
    level = bonferroni(level, comparisons)
    _require_numbers([*values, *baseline])
    differences = [value - base for value, base in zip(values, baseline, strict=True)]
    center, spread = mean(differences), deviation(differences)
    rounding = ROUNDING * max(abs(value) for value in (*values, *baseline))
    low = high = None
    if spread is None:
        verdict = ONE_SEED
    elif spread <= rounding:
        verdict = SAME if abs(center) <= rounding else NO_SPREAD
    else:
        _, low, high = student_interval(differences, level)
        verdict = BETTER if (low or 0) > 0 else WORSE if (high or 0) < 0 else SAME
    return Difference(len(differences), center, low, high, level, verdict)


def bonferroni(level: float, comparisons: int) -> float:
    """The level that each of `comparisons` intervals needs for all to hold together at `level`."""
    require(0 < level < 1, f"level must be between 0 and 1, not {level}")
    require_count("comparisons", comparisons)
    return 1 - (1 - level) / comparisons


def student_interval(values: Sequence[float], level: float) -> tuple[float, float | None, float | None]:
    """The mean of values, and the ends of its two-sided Student-t interval; None of a single value."""
    center, spread = mean(values), deviation(values)
    if spread is None:
        return center, None, None
    reach = student_t(level, len(values) - 1) * spread / math.sqrt(len(values))
    return center, center - reach, center + reach


def student_t(level: float, degrees: int) -> float:
    """How many standard errors a two-sided interval of this confidence reaches."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, degrees))


def _require_numbers(values: Sequence[float]) -> None:
    require(len(values) > 0, "there are no values to take the mean of")
    for value in values:
        if not math.isfinite(value):
            raise InputError(f"statistics need finite numbers, not {value}")
