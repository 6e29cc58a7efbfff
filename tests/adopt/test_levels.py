"""Where spike functions fire, found by bisection, against what they were written to do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from a2sg.adopt.levels import Levels, find_levels

U = torch.zeros(2, 3)
numbers = st.floats(-100, 100, width=32)


def found(function):
    return find_levels(function, U)


@pytest.mark.parametrize(
    ("function", "levels"),
    [
        (lambda u: (u >= 0).float(), Levels((0.0,), (1.0,))),
        (lambda u: (u > 0).float(), Levels((0.0,), (1.0,))),
        (lambda u: u.gt(0.3).float(), Levels((0.3,), (1.0,))),
        (lambda u: u.clamp(0, 4).round(), Levels((0.5, 1.5, 2.5, 3.5), (1.0,) * 4)),
        (lambda u: u.clamp(0, 2).round() / 4, Levels((0.5, 1.5), (0.25, 0.25))),
        (lambda u: u.clamp(0, 3).floor(), Levels((1.0, 2.0, 3.0), (1.0,) * 3)),
        (lambda u: torch.heaviside(u - 15, torch.ones(())) + 2 * (u >= 20), Levels((15.0, 20.0), (1.0, 2.0))),
        (torch.sign, "has the levels -1, 0, 1, not 0 and above"),
        (lambda u: (u < 0).float(), "falls as the potential rises"),
        (lambda u: (u.abs() < 1).float(), "falls as the potential rises"),
        (lambda u: (torch.rand_like(u) < u.sigmoid()).float(), "depends on more than its potential"),
        (torch.round, ""),  # of more levels than a neuron has
        (torch.relu, ""),
        (torch.sigmoid, ""),
        (torch.sqrt, ""),  # NaN below 0
        (torch.zeros_like, ""),
        (
            torch.Tensor.matmul,
            "cannot be tried on single potentials (TypeError): does a tensor decide where it fires?",
        ),
    ],
)
def test_levels_are_those_of_the_function(function, levels):
    assert found(function) == levels


@given(thresholds=st.lists(numbers, min_size=1, max_size=6, unique=True), above=st.booleans())
def test_any_thresholds(thresholds, above):
    def count(u):
        return sum((u > t if above else u >= t).float() for t in thresholds)

    levels = found(count)
    assert levels.near(Levels(tuple(sorted(thresholds)), (1.0,) * len(thresholds)))
    u = torch.randn(200, dtype=torch.float64) * 100
    assert levels.explain(u, count(u))
    assert not levels.explain(u, count(u) + 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_spikes_of_every_precision_are_explained(dtype):
    u = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    levels = found(lambda u: (u > 0.3).float())
    assert levels.explain(u, (u > 0.3).to(dtype))
    assert not levels.explain(u, (u > 0.4).to(dtype))


def test_how_they_are_written():
    assert str(Levels((0.5,), (1.0,))) == "0.5"
    assert str(Levels((0.5, 1.5), (0.25, 0.25))) == "0.5, 1.5 (by 0.25)"
