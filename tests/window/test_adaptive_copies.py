"""Copies of a model, or of a model and its windows, by any means: alone, and in the middle of a search."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import a2sg
from a2sg import AdaptiveWindows
from networks import NOW, Net, Plan, batch, lists


def saved(what):
    file = io.BytesIO()
    torch.save(what, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda what: pickle.loads(pickle.dumps(what)), "save": saved}


@pytest.mark.parametrize(
    "way", [*WAYS.values(), lambda net: AveragedModel(net).module], ids=[*WAYS, "average"]
)
def test_a_copy_of_the_model_alone_is_not_observed(way):
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    twin = way(net)
    assert all(neuron.observer is None for neuron in twin.neurons)
    assert all(neuron.observer is not None for neuron in net.neurons)
    assert windows.observing


@pytest.mark.parametrize("passes", range(3))
@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_model_and_windows_go_on_as_the_originals_do(way, passes):
    net = Net(Plan())
    windows = AdaptiveWindows(net, every=2, start=0, candidates=9)
    parts = [batch(4, seed=seed) for seed in range(4)]
    for part in parts[:passes]:
        net.loss(*part).backward()
    twins = way((net, windows))
    for model, watching in ((net, windows), twins):
        for part in parts[passes:]:
            model.loss(*part).backward()
        for _ in range(3):
            watching.step()
            model.loss(*parts[0]).backward()
    assert lists(twins[0]) == lists(net)
    assert twins[1].history == windows.history
    assert not windows.kept
    assert lists(net)["neurons.0"] != [1.0] * 4


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_a_model_may_hold_its_windows(way):
    net = Net(Plan())
    net.rule = AdaptiveWindows(net, **NOW, candidates=9)
    x, y = batch(4)
    net.loss(x, y).backward()
    twin = way(net)
    for model in (net, twin):
        model.loss(x + 0.1, y).backward()
        model.rule.step()
    assert lists(twin) == lists(net)
    assert twin.rule.sites["neurons.0"] is twin.neurons[0]
    assert not twin.rule.kept


def test_a_copy_made_within_a_pause_is_not_paused():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    with windows.paused():
        twin, again = copy.deepcopy((net, windows))
    assert all(neuron.observer is not None for neuron in twin.neurons)
    x, y = batch(4)
    twin.loss(x, y).backward()
    again.step()
    assert not again.kept


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_adapted_models_go_on_too(way):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), a2sg.LIF(4), nn.Linear(5, 5), a2sg.LIF(4))
    windows = a2sg.adapt(net, steps=4, **NOW, candidates=9)
    x = torch.randn(4, 6, 3)
    net(x).sum().backward()
    twins = way((net, windows))
    for model, watching in ((net, windows), twins):
        model(x + 0.1).sum().backward()
        watching.step()
    assert twins[1].history == windows.history
    assert not windows.kept
