"""Rank correlation against scipy, and its interval against data whose runs are known to agree or not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from a2sg.errors import InputError
from a2sg.study.measure.correlation import correlate


def points(a, b, runs=2, **columns):
    return [
        {"run": at % runs, "layer": "one", "sgv": x, "lambda": y, **{k: v[at] for k, v in columns.items()}}
        for at, (x, y) in enumerate(zip(a, b, strict=True))
    ]


values = st.lists(st.tuples(st.integers(0, 6), st.integers(-4, 4)), min_size=4, max_size=40)


@given(pairs=values)
def test_pooled_it_is_spearmans(pairs):
    a, b = (list(map(float, column)) for column in zip(*pairs, strict=True))
    found = correlate(points(a, b), resamples=1)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found.rho is None
    else:
        assert found.rho == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert (found.points, found.left_out, found.clusters) == (len(pairs), 0, 2)


def test_within_groups_a_difference_between_groups_does_not_count():
    generator = np.random.default_rng(0)
    a, b, layers = [], [], []
    for number in range(5):
        x = generator.normal(size=30)
        a += list(1e3**number * np.exp(x))
        b += list(1e3**number * np.exp(-x))  # opposed within, together between
        layers += [f"layer{number}"] * 30
    rows = points(a, b, runs=3, layer=layers)
    assert correlate(rows, resamples=9).rho > 0.8
    assert correlate(rows, within=("layer",), resamples=9).rho == pytest.approx(-1)


def test_the_interval_is_over_runs():
    """30 points of each of 8 runs: within a run noise, between runs a relation. The runs are what counts."""
    generator = np.random.default_rng(1)
    rows = []
    for run in range(8):
        for _ in range(30):
            rows.append(
                {"run": run, "sgv": run + generator.normal(0, 0.1), "lambda": -run + generator.normal(0, 0.1)}
            )
    found = correlate(rows, resamples=400)
    assert found.high < -0.8
    mixed = [dict(row, **{"lambda": generator.normal(row["run"] % 2, 0.1)}) for row in rows]
    wide = correlate(mixed, resamples=400)
    independent = correlate([dict(row, run=at) for at, row in enumerate(mixed)], resamples=400)
    assert wide.high - wide.low > 2 * (independent.high - independent.low)
    assert wide.low < wide.rho < wide.high


def test_an_interval_covers_the_truth():
    """Points of independent runs whose rank correlation is known: 95 % intervals hold it about as often."""
    generator = np.random.default_rng(2)
    rho = 0.6
    truth = 6 / math.pi * math.asin(rho / 2)
    held = 0
    for trial in range(40):
        x, z = generator.normal(size=(2, 40))
        rows = points(x, rho * x + math.sqrt(1 - rho**2) * z, runs=40)
        found = correlate(rows, resamples=100, seed=trial)
        held += found.low <= truth <= found.high
    assert 33 <= held <= 40


def test_one_run_has_no_interval_and_points_without_numbers_are_counted():
    rows = [
        *points([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 5.0], runs=1),
        {"run": 0, "sgv": None, "lambda": 1.0},
        {"run": 0, "sgv": 1.0, "lambda": math.nan},
    ]
    found = correlate(rows)
    assert (found.rho, found.low, found.high) == (pytest.approx(0.8), None, None)
    assert (found.points, found.left_out) == (4, 2)
    assert found.to_dict()["x"] == "sgv"


def test_the_same_seed_gives_the_same_interval():
    generator = np.random.default_rng(3)
    rows = points(generator.normal(size=40), generator.normal(size=40), runs=6)
    assert correlate(rows, resamples=50) == correlate(rows, resamples=50)
    assert correlate(rows, resamples=50) != correlate(rows, resamples=50, seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "tgc"}, "6 of 6 points have no column 'tgc'"),
        ({"within": ("epoch",)}, "no column 'epoch'"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"resamples": 0}, "resamples must be a whole number"),
    ],
)
def test_what_is_wrong_is_told(options, message):
    with pytest.raises(InputError, match=message):
        correlate(points(range(6), range(6)), **options)


def test_too_few_points_are_told():
    with pytest.raises(InputError, match="at least 3 points with sgv and lambda, not 2"):
        correlate(points([1, 2, None], [1, 2, 3]))
