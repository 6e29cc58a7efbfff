"""Passes that `paused` keeps out of a search: its sums are, to the bit, those without the passes."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import a2sg
from networks import NOW, Net, Plan, batch, lists


class Sited(nn.Module):
    """A loop over time with a spike function of its own, as `a2sg.adapt` finds it in other code."""

    def __init__(self):
        super().__init__()
        self.fire = a2sg.SpikeSite(4)

    def forward(self, current):
        potential, spikes = torch.zeros_like(current[0]), []
        self.fire.begin()
        for step in current:
            potential = 0.9 * potential + step
            spikes.append(self.fire(potential - 1))
            potential = potential - spikes[-1]
        return torch.stack(spikes)


def sited_net():
    net = Net(Plan())
    net.neurons = nn.ModuleList([Sited(), Sited()])
    return net


NETS = {
    "lif": lambda: Net(Plan()),
    "plif": lambda: Net(Plan("plif")),
    "convolution": lambda: Net(Plan(conv=True)),
    "site": sited_net,
}


def attack(net, x, y):
    """One step along the sign of the input's gradient (Goodfellow et al., 2015)."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.loss(x, y), x)
    return x.detach() + 0.1 * gradient.sign()


def tables(windows):
    return {name: (seen.table.clone(), seen.passing.clone()) for name, seen in windows.observers.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert all(map(torch.equal, one[name], other[name]))


@pytest.mark.parametrize("build", NETS.values(), ids=NETS)
def test_sums_are_those_without_the_passes(build):
    x, y = batch(4)
    harder = attack(build(), x, y)
    alone, net = build(), build()
    wanted, windows = (a2sg.AdaptiveWindows(one, **NOW, candidates=10) for one in (alone, net))
    alone.loss(harder, y).backward()

    with windows.paused():
        assert torch.equal(attack(net, x, y), harder)
    loss = net.loss(harder, y)
    with windows.paused():  # between the forward pass that counts and its backward pass
        net.loss(x, y).backward()
    loss.backward()

    assert all(table.any() for table, _ in tables(wanted).values())
    assert_same(tables(windows), tables(wanted))
    wanted.step()
    windows.step()
    assert [row["window"] for row in windows.history] == [row["window"] for row in wanted.history]


def test_without_it_such_a_pass_counts():
    x, y = batch(4)
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, **NOW, candidates=10)
    with windows.paused():
        net.loss(x, y).backward()
    assert not any(table.any() for table, _ in tables(windows).values())
    attack(net, x, y)
    assert all(table.any() for table, _ in tables(windows).values())


def test_gradients_are_as_ever():
    x, y = batch(4)
    found = []
    for paused in (False, True):
        net = Net(Plan())
        windows = a2sg.AdaptiveWindows(net, **NOW)
        with windows.paused() if paused else nullcontext():
            net.loss(x, y).backward()
        found.append([parameter.grad for parameter in net.parameters()])
    assert all(map(torch.equal, *found))


def test_what_counts_is_where_the_forward_pass_runs():
    x, y = batch(4)
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, **NOW, candidates=10)
    with windows.paused():
        loss = net.loss(x, y)
    loss.backward()
    assert not any(table.any() for table, _ in tables(windows).values())
    loss = net.loss(x, y)
    with windows.paused():
        loss.backward()
    alone = Net(Plan())
    other = a2sg.AdaptiveWindows(alone, **NOW, candidates=10)
    alone.loss(x, y).backward()
    assert_same(tables(windows), tables(other))


def test_nested_after_errors_and_over_the_end_of_an_iteration():
    x, y = batch(4)
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, every=2, start=1)

    def observed():
        return all(neuron.observer is not None for neuron in net.neurons)

    with pytest.raises(ZeroDivisionError), windows.paused(), windows.paused():
        raise ZeroDivisionError
    with windows.paused():
        windows.step()  # iteration 1 is an observed one
        assert windows.observing
        assert not observed()
        with windows.paused():
            pass
        assert not observed()
        windows.calibrate(lambda: net.loss(x, y))  # asks for a look by itself
        assert lists(net) != lists(Net(Plan()))
        assert not observed()
    assert observed()
    windows.detach()
    with windows.paused():
        pass
    assert not observed()


def test_an_iteration_may_end_within_a_pause(caplog):
    """Nothing else replaced the observers: they are out of the way."""
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, **NOW)
    with windows.paused():
        net.loss(*batch(4)).backward()
        windows.step()
    assert "replaced the observers" not in caplog.text
