"""Means, spreads and paired differences against numbers worked out by hand and by scipy."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from a2sg.errors import InputError
from a2sg.statistics import (
    BETTER,
    NO_SPREAD,
    ONE_SEED,
    SAME,
    WORSE,
    bonferroni,
    deviation,
    mean,
    paired_difference,
)


def test_mean_and_deviation_by_hand():
    assert mean([2, 4, 4, 4, 5, 5, 7, 9]) == 5
    assert deviation([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7))
    assert deviation([3.0]) is None


def test_a_difference_by_hand():
    # Differences 2, 1, 4: mean 7/3, variance 7/3; t of 97.5 % at 2 degrees of freedom is 4.302653.
    found = paired_difference([90, 92, 94], [88, 91, 90])
    reach = 4.302653 * math.sqrt(7 / 3) / math.sqrt(3)
    assert found.mean == pytest.approx(7 / 3)
    assert found.low == pytest.approx(7 / 3 - reach, rel=1e-6)
    assert found.high == pytest.approx(7 / 3 + reach, rel=1e-6)
    assert (found.pairs, found.level, found.verdict) == (3, 0.95, SAME)


def test_two_seeds_by_hand():
    # Differences 1 and 1.1: mean 1.05, standard error 0.05; t of 97.5 % at 1 degree of freedom is 12.706205.
    found = paired_difference([91.0, 92.1], [90.0, 91.0])
    assert found.low == pytest.approx(1.05 - 12.706205 * 0.05, rel=1e-6)
    assert found.verdict == BETTER
    assert paired_difference([91.0, 92.2], [90.0, 91.0]).verdict == SAME


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_is_scipys(count, level):
    draw = random.Random(f"{count} {level}")
    for shift in (-1.0, 0.0, 1.0):
        baseline = [draw.gauss(90, 2) for _ in range(count)]
        values = [value + draw.gauss(shift, 0.7) for value in baseline]
        interval = ttest_rel(values, baseline).confidence_interval(level)
        found = paired_difference(values, baseline, level)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        expected = BETTER if interval.low > 0 else WORSE if interval.high < 0 else SAME
        assert found.verdict == expected


def test_a_swap_turns_the_verdict():
    high, low = [91.0, 92.1, 93.2], [90.0, 91.0, 92.0]
    assert paired_difference(high, low).verdict == BETTER
    assert paired_difference(low, high).verdict == WORSE


def test_one_seed_has_a_difference_but_no_interval():
    found = paired_difference([91.5], [90.0])
    assert found.mean == 1.5
    assert (found.low, found.high, found.verdict) == (None, None, ONE_SEED)


def test_equal_differences_claim_nothing():
    same = paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (same.mean, same.verdict) == (0, SAME)
    steady = paired_difference([0.1 + 0.2, 0.3 + 0.2], [0.1, 0.3])  # equal but for rounding
    assert (steady.low, steady.high, steady.verdict) == (None, None, NO_SPREAD)


def test_bonferroni_divides_the_chance_of_error():
    assert bonferroni(0.95, 1) == pytest.approx(0.95)
    assert bonferroni(0.95, 5) == pytest.approx(0.99)
    values, baseline = [91.0, 92.1, 92.7], [90.0, 91.0, 92.0]
    alone = paired_difference(values, baseline)
    together = paired_difference(values, baseline, comparisons=5)
    assert together.level == pytest.approx(0.99)
    assert together.low == pytest.approx(ttest_rel(values, baseline).confidence_interval(0.99).low)
    assert (alone.verdict, together.verdict) == (BETTER, SAME)


accuracies = st.floats(0, 1)


@given(
    st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=8), st.sampled_from([0.5, 0.95, 0.999])
)
def test_never_nan(pairs, level):
    values, baseline = zip(*pairs, strict=True)
    found = paired_difference(values, baseline, level)
    assert math.isfinite(found.mean)
    assert (found.low is None) == (found.high is None)
    if found.low is not None:
        assert math.isfinite(found.low)
        assert found.low <= found.mean <= found.high
        assert (found.verdict == SAME) == (found.low <= 0 <= found.high)
    else:
        assert found.verdict in (ONE_SEED, NO_SPREAD, SAME)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean([]), "no values"),
        (lambda: paired_difference([], []), "no values"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "not 2 and 1"),
        (lambda: paired_difference([1.0, math.nan], [1.0, 1.0]), "finite numbers, not nan"),
        (lambda: deviation([math.inf, 1.0]), "finite numbers, not inf"),
        (lambda: paired_difference([1.0], [1.0], level=95), "level must be between 0 and 1, not 95"),
        (lambda: bonferroni(0.95, 0), "comparisons must be a whole number of at least 1"),
    ],
)
def test_what_has_no_statistics_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_accuracies_that_differ_by_the_same_number_of_samples_have_no_spread():
    """One recording of 144 more in every seed, as float32 has it: Student's t would be certain of it."""
    base = torch.tensor([129, 128, 131]).float() / 144
    values = torch.tensor([130, 129, 132]).float() / 144
    assert paired_difference(values.tolist(), base.tolist()).verdict == NO_SPREAD
