"""Gradients that are all zero, missing or not finite keep their window and are told."""

import logging
import math
import re

import pytest
import torch
from torch import nn

from a2sg import LIF, AdaptiveWindows
from a2sg.surrogate import Asymmetric, Boxcar
from networks import NOW, Net, Plan, batch


class Pair(nn.Module):
    """Two neurons side by side, so that one's gradients cannot reach the other."""

    def __init__(self, steps=3, surrogate=Asymmetric()):
        super().__init__()
        self.a = LIF(steps, surrogate=surrogate)
        self.b = LIF(steps, surrogate=surrogate)
        self.double()

    def backward(self, x, weights):
        x = x.clone().requires_grad_()
        (self.a(x) * weights + self.b(x)).sum().backward()


@pytest.fixture
def pair():
    x = 0.6 + torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = Pair()
    windows = AdaptiveWindows(expected, **NOW)
    expected.backward(x, torch.ones_like(x))
    windows.step()
    return x, expected.a.window.tolist()


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
@pytest.mark.parametrize("gradient", ["spike", "full"])
def test_zero_gradients_keep_the_window(pair, caplog, search, gradient):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW, search=search, gradient=gradient)
    with caplog.at_level(logging.WARNING, "a2sg"):
        model.backward(x, torch.zeros_like(x))
        windows.step()
    assert model.a.window.tolist() == [1.0] * 3
    assert windows.kept == {"all zero": 3}
    rows = {(row["layer"], row["step"]): row for row in windows.history}
    assert rows["a", 1]["kept"] == rows["a", 3]["kept"] == "all zero"
    assert rows["a", 1]["window"] == 1.0
    for score in ("sgv", "tgc", "sgv_before", "tgc_before"):  # not 0, which means over training would count
        assert rows["a", 1][score] is None
    assert rows["b", 1]["kept"] == rows["b", 3]["kept"] == ""
    if search != "bayes" and gradient == "spike":
        assert model.b.window.tolist() == expected
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "3 of 6" in caplog.text
    assert "all zero" in caplog.text
    model.backward(x, torch.zeros_like(x))
    windows.step()
    assert windows.kept == {"all zero": 6}


def test_zero_gradients_at_the_last_step_leave_nothing_to_be_consistent_with(pair):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    weights = torch.ones_like(x)
    weights[2] = 0
    model.backward(x, weights)
    windows.step()
    assert model.a.window[1:].tolist() == [1.0, 1.0]
    assert model.a.window[0] != 1.0
    assert windows.kept == {"all zero": 2}
    assert model.b.window.tolist() == expected


def test_a_silent_layer_out_of_every_window_keeps_it():
    neuron = LIF(2, surrogate=Boxcar()).double()
    windows = AdaptiveWindows(neuron, **NOW)
    x = torch.full((2, 5), -7.0, dtype=torch.float64, requires_grad=True)
    neuron(x).sum().backward()
    windows.step()
    assert neuron.window.tolist() == [1.0, 1.0]
    assert windows.kept == {"all zero": 2}


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("distance", [0.02, 0.5, 40.0])
def test_gradients_that_are_not_finite_keep_the_window_and_spread_nowhere(
    pair, caplog, search, gradient, value, distance
):
    """One bad gradient at the first step, near the threshold, within some windows, or outside all of them."""
    x, _ = pair
    x = x.clone()
    x[0, 5] = 1 + distance
    clean = Pair()
    clean_windows = AdaptiveWindows(clean, **NOW, search=search, gradient=gradient)
    clean.backward(x, torch.ones_like(x))
    clean_windows.step()

    model = Pair()
    windows = AdaptiveWindows(model, **NOW, search=search, gradient=gradient)
    weights = torch.ones_like(x)
    weights[0, 5] = value
    with caplog.at_level(logging.WARNING, "a2sg"):
        model.backward(x, weights)
        windows.step()
    assert model.a.window[0] == 1.0
    assert windows.kept == {"not finite": 1}
    assert model.a.window[1:].tolist() == clean.a.window[1:].tolist(), "later steps have their own gradients"
    assert model.b.window.tolist() == clean.b.window.tolist()
    row = windows.history[0]
    assert (row["layer"], row["step"], row["kept"]) == ("a", 1, "not finite")
    assert row["window"] == row["window_before"] == 1.0
    assert row["sgv"] is None
    assert row["tgc"] is None
    assert all(isinstance(other["sgv"], float) for other in windows.history[1:])
    assert len(caplog.records) == 1
    assert "not finite" in caplog.text

    model.backward(x, torch.ones_like(x))  # the next iteration is clean again
    windows.step()
    assert windows.kept == {"not finite": 1}
    assert isinstance(windows.history[6]["tgc"], float)


def test_a_broken_last_step_breaks_all_earlier_ones_of_its_layer_alone(pair):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    model.backward(x, torch.full_like(x, math.nan))
    windows.step()
    assert model.a.window.tolist() == [1.0] * 3
    assert windows.kept == {"not finite": 3}
    assert model.b.window.tolist() == expected


def test_no_backward_pass_keeps_the_windows(caplog):
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    with caplog.at_level(logging.WARNING, "a2sg"):
        windows.step()
    assert windows.kept == {"no gradient": 6}
    assert model.a.window.tolist() == [1.0] * 3
    assert len(caplog.records) == 1


SILENT = {
    "too early": (
        {"every": 9},
        "none",
        "no search has run: the first needs 10 iterations, and 4 have",
    ),
    "in a row": ({"every": 9, "start": 2, "batches": 4}, "none", "the first needs 6 iterations, and 4 "),
    "no backward pass": (
        {},
        "no backward",
        r"4 searches found nothing \(no gradient: \d+\): no backward pass",
    ),
    "another rule": ({}, "another", "replaced the observers of 2 layers"),
    "broken": ({}, "nan", r"4 searches found nothing \(not finite: \d+\): gradients were NaN"),
    "only watched": ({"spatial": False, "temporal": False, "every": 9}, "none", ""),
    "all is well": ({}, "none", ""),
    "one part": ({"temporal": False}, "no backward", r"4 searches found nothing \(no gradient: \d+\)"),
}


def test_a_step_that_was_never_called_is_told():
    net = Net(Plan())
    windows = AdaptiveWindows(net, every=1, start=0)
    net.loss(*batch(4)).backward()
    assert windows.silence.startswith("no search has run: step() was never called")


def test_a_step_before_the_backward_pass_is_told_at_once(caplog):
    net = Net(Plan())
    windows = AdaptiveWindows(net, every=1, start=0)
    net.loss(*batch(4))
    windows.step()
    assert "call step() once per iteration, after backward()" in caplog.text


@pytest.mark.parametrize("case", SILENT)
def test_a_search_that_set_nothing_says_why(case, caplog):
    options, disturbed, wanted = SILENT[case]
    net = Net(Plan())
    windows = AdaptiveWindows(net, **{"every": 1, "start": None if "every" in options else 0, **options})
    for iteration in range(4):
        if disturbed == "another":
            AdaptiveWindows(net, every=1, start=0)
        x, y = batch(4, size=8, seed=iteration)
        loss = net.loss(x, y, float("nan") if disturbed == "nan" else 1.0)
        if disturbed != "no backward":
            loss.backward()
        windows.step()
    assert re.search(wanted, windows.silence) if wanted else windows.silence == ""
    assert ("were not observed" in caplog.text) == (disturbed == "another")
