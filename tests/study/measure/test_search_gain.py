"""What searches promise and deliver, against networks in which every candidate is tried by hand."""

import copy
import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.analysis import search_gain
from a2sg.errors import InputError
from a2sg.study.measure.variation import estimate
from networks import Net, Plan, Replica, batch, candidates


def cross_entropy(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def batches(count, steps=3):
    return [batch(steps, size=8, seed=seed) for seed in range(count)]


def score(replica, layer, step, window):
    """SGV or TGC of one layer and step at a window."""
    found = replica.steps[layer][step - 1].score(window)
    return -found if replica.steps[layer][step - 1].later is None else found


def gain(step, before, after):
    return math.log(before / after) if step.spatial else after - before


@pytest.mark.parametrize("plan", [Plan(steps=3), Plan(steps=3, shape="triangle", kind="plif")], ids=str)
def test_promised_on_the_batch_kept_on_it_and_kept_on_the_next(plan):
    net = Net(plan)
    data = batches(3)
    found = search_gain(net, data, cross_entropy, candidates=20)
    assert [(step.layer, step.step, step.spatial) for step in found] == [
        (f"neurons.{layer}", t, t == 3) for layer in (0, 1) for t in (1, 2, 3)
    ]
    now = [Replica(net, *one) for one in data]
    best = [replica.best(candidates(count=20)) for replica in now]
    set_nets = []
    for windows in best:
        twin = copy.deepcopy(net)
        for neuron, values in zip(twin.neurons, windows.values(), strict=True):
            neuron.window.copy_(torch.tensor(values))
        set_nets.append(twin)
    same = [Replica(twin, *one) for twin, one in zip(set_nets, data, strict=True)]
    other = [Replica(twin, *data[(at + 1) % 3]) for at, twin in enumerate(set_nets)]
    for step in found:
        at = (step.layer, step.step)
        windows = [one[step.layer][step.step - 1] for one in best]
        before = [score(replica, *at, 1.0) for replica in now]
        assert step.window == 1.0
        assert step.windows == windows
        promised = estimate(
            gain(step, b, score(r, *at, w)) for b, r, w in zip(before, now, windows, strict=True)
        )
        kept = estimate(
            gain(step, b, score(r, *at, w)) for b, r, w in zip(before, same, windows, strict=True)
        )
        ahead = [*before[1:], before[0]]
        next_one = estimate(
            gain(step, b, score(r, *at, w)) for b, r, w in zip(ahead, other, windows, strict=True)
        )
        for ours, expected in ((step.promised, promised), (step.same, kept), (step.other, next_one)):
            assert ours.mean == pytest.approx(expected.mean, rel=1e-6, abs=1e-9)
            assert ours.error == pytest.approx(expected.error, rel=1e-6, abs=1e-9)
        assert step.promised.mean >= -1e-12, "no search takes what is worse than the window in use, 1"


def test_a_group_is_one_large_batch():
    net = Net(Plan(steps=3))
    data = batches(5)
    together = [
        (torch.cat([data[i][0], data[i + 1][0]], 1), torch.cat([data[i][1], data[i + 1][1]])) for i in (0, 2)
    ]
    grouped = search_gain(net, data, cross_entropy, group=2, candidates=20)
    whole = search_gain(net, together, cross_entropy, candidates=20)
    for a, b in zip(grouped, whole, strict=True):
        assert a.windows == b.windows
        assert a.promised.mean == pytest.approx(b.promised.mean, rel=1e-9, abs=1e-12)
        assert a.other.mean == pytest.approx(b.other.mean, rel=1e-9, abs=1e-12)


def test_the_model_stays_as_it_is():
    net = Net(Plan(steps=3))
    before = copy.deepcopy(net.state_dict())
    search_gain(net, batches(2), cross_entropy, candidates=5)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(neuron.observer is None for neuron in net.neurons)


def test_options_of_the_search_are_used():
    net, data = Net(Plan(steps=3)), batches(2)
    found = search_gain(net, data, cross_entropy, spatial=False, high=2.0, candidates=7)
    assert [step.step for step in found] == [1, 2, 1, 2]
    assert all(window in candidates(high=2.0, count=7) for step in found for window in step.windows)
    first = search_gain(net, data, cross_entropy, spatial_steps="first", candidates=5)
    assert [(step.step, step.spatial) for step in first] == [(1, True), (2, False)] * 2


def test_layers_without_gradients_promise_nothing():
    found = search_gain(Net(Plan(steps=3)), batches(2), lambda y, t: 0 * cross_entropy(y, t))
    assert all(step.windows == [None, None] for step in found)
    assert all(step.promised.mean is None or step.promised.mean == 0 for step in found)


def test_what_cannot_be():
    net = Net(Plan(steps=3))
    with pytest.raises(InputError, match="give at least 4"):
        search_gain(net, batches(3), cross_entropy, group=2)
    with pytest.raises(InputError, match="every is not an option here"):
        search_gain(net, batches(2), cross_entropy, every=5)
    with pytest.raises(InputError, match="spiking neurons"):
        search_gain(nn.Linear(2, 2), batches(2), cross_entropy)


def test_adapted_models_too():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(9, 4).double()
            self.site = a2sg.SpikeSite(3)

        def forward(self, x):
            return sum(a2sg.spike(self.linear(step) - 0.1, self.site) for step in x)

    torch.manual_seed(0)
    found = search_gain(Model(), batches(2), cross_entropy, candidates=5)
    assert [(step.layer, step.step) for step in found] == [("site", 1), ("site", 2), ("site", 3)]
    assert all(len(step.windows) == 2 for step in found)
