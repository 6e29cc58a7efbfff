"""Gain: windows that keep the norm of δ from layer to layer, against trying every candidate by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.surrogate import Boxcar, Triangle
from a2sg.window import gain
from networks import NOW, Net, Plan, Replica, batch, best_of, candidates, lists, observe


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("target", [1.0, 0.4])
@pytest.mark.parametrize(
    "plan", [Plan(steps=3), Plan(steps=2, shape="triangle"), Plan(conv=True, shape="fast")], ids=str
)
def test_the_window_is_the_one_whose_gain_is_nearest(plan, target, gradient):
    net = Net(plan)
    objective = "gain" if target == 1 else gain(target)
    options = {"spatial": objective, "temporal": objective, "gradient": gradient}
    windows = a2sg.AdaptiveWindows(net, **NOW, candidates=30, **options)
    x, y = batch(plan.steps)
    replica = Replica(net, x, y, full=gradient == "full")
    before = lists(net)
    observe(net, windows, x, y)
    (name, steps), (last, behind) = replica.steps.items()
    for t, step in enumerate(steps):
        goal = target * behind[t].delta(before[last][t]).norm()
        tried = {
            w: -abs(math.log(step.delta(w).norm() / goal))
            for w in candidates(count=30)
            if step.delta(w).any()
        }
        assert lists(net)[name][t] == best_of(tried)
    assert lists(net)[last] == before[last]  # there is no layer behind it
    assert windows.kept == {}


@pytest.mark.parametrize("part", ["spatial", "temporal"])
def test_each_part_may_have_it_alone(part):
    found = {}
    for other in ("paper", "gain"):
        net = Net(Plan())
        options = {part: "gain"} if other == "paper" else {"spatial": "gain", "temporal": "gain"}
        windows = a2sg.AdaptiveWindows(net, **NOW, candidates=30, **options)
        observe(net, windows, *batch(4))
        found[other] = lists(net)
    first = next(iter(found["gain"]))
    at = slice(-1, None) if part == "spatial" else slice(-1)
    assert found["paper"][first][at] == found["gain"][first][at]
    assert found["paper"] != found["gain"]


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_it_is_free_of_scale_and_adds_up_over_micro_batches(scale):
    options = {"spatial": "gain", "temporal": "gain", "candidates": 30}
    whole, parts = Net(Plan()), Net(Plan())
    x, y = batch(4, size=20)
    observe(whole, a2sg.AdaptiveWindows(whole, **NOW, **options), x, y)
    windows = a2sg.AdaptiveWindows(parts, **NOW, **options)
    for at in (slice(0, 6), slice(6, 20)):
        parts.loss(x[:, at], y[at], scale).backward()
    windows.step()
    assert lists(parts) == lists(whole)


def chain(layers, width, shape, window):
    """Dense layers of spiking neurons for one time step, whose gradient explodes or starves with depth."""
    torch.manual_seed(0)
    parts = [
        nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), a2sg.LIF(1, surrogate=shape, window=window)
        )
        for _ in range(layers)
    ]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(parts)

        def forward(self, x):
            for linear, norm, neuron in self.layers:
                x = neuron(norm(linear(x))[None])[0]
            return x

    return Net().double()


@pytest.mark.parametrize(
    ("shape", "window"), [(Boxcar(), 2.0), (Triangle(), 0.2)], ids=["explodes", "starves"]
)
def test_one_search_all_but_evens_a_whole_chain(shape, window):
    net = chain(8, 64, shape, window)
    options = {"low": 0.02, "high": 3.0, "candidates": 300, "spatial": "gain", "temporal": False}
    windows = a2sg.AdaptiveWindows(net, **NOW, **options)
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(4):
        (net(x) * torch.linspace(-1, 1, 64)).sum().backward()
        windows.step()
    norms = [[row["norm"] for row in windows.history if row["iteration"] == i] for i in range(4)]
    ratios = [max(norm[0] / norm[-1], norm[-1] / norm[0]) for norm in norms]
    assert ratios[0] > 100
    assert max(ratios[1:]) < 1.5
    assert [row["gain"] for row in windows.history[-8:-1]] == pytest.approx(
        [a / b for a, b in pairwise(norms[-1])]
    )


def test_a_target_must_be_above_0():
    with pytest.raises(InputError, match="target must be a number above 0, not 0"):
        gain(0.0)
