"""Windows set before training, from one batch: as a search finds them, and with nothing else changed."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from lookalikes import Sited
from networks import NOW, Net, Plan, batch, lists, observe


@pytest.mark.parametrize("options", [{}, {"spatial": "gain", "temporal": "gain"}, {"biases": 3}], ids=str)
def test_they_are_what_searches_find(options):
    x, y = batch(4)
    first, second = Net(Plan()), Net(Plan())
    windows = a2sg.AdaptiveWindows(first, **NOW, candidates=30, **options)
    for _ in range(2):
        observe(first, windows, x, y)
    ahead = a2sg.AdaptiveWindows(second, every=50, candidates=30, **options)
    ahead.calibrate(lambda: second.loss(x, y), rounds=2)
    assert lists(second) == lists(first)
    assert [n.surrogate for n in second.neurons] == [n.surrogate for n in first.neurons]
    assert [row["window"] for row in ahead.history] == [row["window"] for row in windows.history]
    assert (ahead.iteration, ahead.observing) == (0, False)


def test_nothing_else_changes():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(9, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Unflatten(0, (2, 5)), a2sg.LIF(2)
    )
    x = torch.randn(10, 9)
    net(x).sum().backward()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    random = torch.get_rng_state()
    windows = a2sg.AdaptiveWindows(net, spatial="std")
    windows.calibrate(lambda: (net(x) * torch.randn(2, 5, 8)).sum())
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, state[name])}
    assert changed == {"4.window"}
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def test_gradients_are_put_back_after_a_failure():
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net)
    with pytest.raises(InputError, match="the loss has no gradient"):
        windows.calibrate(lambda: torch.zeros(()))
    assert all(neuron.observer is None for neuron in net.neurons)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_not_within_an_observed_iteration():
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, **NOW)
    x, y = batch(4)
    net.loss(x, y).backward()
    with pytest.raises(InputError, match="during an observed iteration"):
        windows.calibrate(lambda: net.loss(x, y))


def test_nothing_else_changes_in_an_adapted_model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.Unflatten(0, (2, 5)), Sited(2))
    windows = a2sg.adapt(net, steps=2)
    x = torch.randn(10, 9)
    net(x).sum().backward()
    windows.step()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    windows.calibrate(lambda: net(x).square().sum())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
    assert len(windows.history) == 2
    assert windows.sites["3.site"].window.tolist() != [1.0, 1.0]


def test_a_sequence_of_another_t_is_refused():
    net = Sited(4)
    windows = a2sg.adapt(net, steps=4)
    x = torch.randn(3, 5, 9, requires_grad=True)
    with pytest.raises(InputError, match="saw 3 steps of a sequence, but steps=4"):
        windows.calibrate(lambda: net(x).sum())
    assert not windows.history
