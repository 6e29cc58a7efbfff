"""Windows found on a card against every candidate tried in float64 on the CPU.

Two windows may be equally good but for rounding: what counts is the score of the one that was taken.
"""

import copy

import pytest
import torch

import reference
from a2sg import AdaptiveWindows
from a2sg.kernels.backends import BACKENDS
from a2sg.neuron import SpikingNeuron
from networks import NOW, Net, Plan, Replica, batch, candidates, lists, observe

PLANS = [
    Plan(),
    Plan(steps=1),
    Plan(steps=9, reset="hard"),
    Plan(shape="triangle-unit", conv=True),
    Plan(shape="boxcar", detach=True),
    Plan(shape="asymmetric-0.8", threshold=0.5),
    Plan(shape="dspike"),
    Plan(shape="arctan"),
    Plan(kind="plif", shape="pinned"),
    Plan(kind="integer"),
]
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of scores, relative: in float32 a potential near an edge may lie on its other side."""


def score(step, window):
    """What the search maximises at one step: TGC, or at the last one -SGV."""
    delta = step.delta(window)
    if step.later is not None:
        return reference.tgc(delta, step.later)
    return -(delta.var(correction=0) / delta.abs().mean()).item()


def on(net, device, dtype, backend):
    net = copy.deepcopy(net).to(device, dtype)
    for module in net.modules():
        if isinstance(module, SpikingNeuron):
            module.backend = backend
    return net


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_window_that_is_taken_is_the_best(plan, gradient, dtype, device):
    net = Net(plan)
    x, y = batch(plan.steps, size=32)
    replica = Replica(net, x, y, full=gradient == "full")
    for backend in BACKENDS:
        if backend == "triton" and device.type != "cuda":
            continue
        mine = on(net, device, dtype, backend)
        windows = AdaptiveWindows(mine, **NOW, candidates=30, gradient=gradient)
        observe(mine, windows, x.to(device, dtype), y.to(device))
        assert not windows.kept
        for name, steps in replica.steps.items():
            for step, window in zip(steps, lists(mine)[name], strict=True):
                best = max(score(step, other) for other in candidates(count=30))
                assert score(step, window) >= best - ROUNDING[dtype] * abs(best)


@pytest.mark.parametrize("search", ["exact", "grid", "bayes", "random"])
def test_every_search_gives_the_windows_of_the_cpu(search, device):
    net = Net(Plan())
    x, y = batch(4, size=32)
    found = []
    for where in ("cpu", device):
        mine = on(net, where, torch.float64, "auto")
        windows = AdaptiveWindows(mine, **NOW, candidates=30, search=search, biases=1)
        observe(mine, windows, x.to(where), y.to(where))
        found.append((lists(mine), [row["sgv"] for row in windows.history]))
    if search == "random":  # drawn from the scores' own bits
        assert all(0.1 <= window <= 1 for layer in found[1][0].values() for window in layer)
        return
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)


def test_biases_micro_batches_and_state(device):
    """The further options at once, and what was saved half-way."""
    net = Net(Plan())
    found = []
    for where in ("cpu", device):
        mine = on(net, where, torch.float64, "auto")
        options = {"every": 3, "start": 0, "batches": 2, "candidates": 30, "biases": 3, "smoothing": 0.25}
        windows = AdaptiveWindows(mine, **options)
        for seed in range(3):
            x, y = batch(4, size=8, seed=seed)
            observe(mine, windows, x.to(where), y.to(where))
            state = windows.state_dict()
            windows.detach()
            windows = AdaptiveWindows(mine, **options)
            windows.load_state_dict(state)
        found.append((lists(mine), [neuron.surrogate for neuron in mine.neurons], len(windows.history)))
    assert found[0] == found[1]


def test_nothing_usable_keeps_the_window(device):
    net = on(Net(Plan()), device, torch.float32, "auto")
    windows = AdaptiveWindows(net, **NOW)
    before = lists(net)
    x, y = batch(4)
    observe(net, windows, x.to(device).float(), y.to(device), scale=0.0)
    assert lists(net) == before
    assert dict(windows.kept) == {"all zero": 8}
