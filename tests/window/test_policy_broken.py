"""Loops that break off, end in another order, or change the model: no sum stays where it does not belong."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg import LIF, AdaptiveWindows
from lookalikes import Sited
from networks import NOW, Net, Plan, batch, lists


class Failing(torch.autograd.Function):
    """Breaks off the backward pass."""

    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ctx.error


def network(make=lambda: LIF(4)):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), make(), nn.Linear(8, 8), make()).double()


def draw(seed, steps=4):
    return torch.randn(steps, 5, 6, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["error", "key"])
@pytest.mark.parametrize("reentrant", [None, True, False])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("make", [lambda: LIF(4), lambda: Sited(4)], ids=["neuron", "site"])
def test_a_backward_pass_that_fails_leaves_no_sums(make, error, reentrant, before):
    found = []
    for fails in (False, True):
        net = network(make)
        windows = AdaptiveWindows(net, **NOW)
        for seed in range(before):  # micro-batches that went well stay
            net(draw(seed)).square().sum().backward()
        if fails:
            first, rest = Failing.apply(net[1](net[0](3 * draw(7))), error), net[2:]
            last = rest(first) if reentrant is None else checkpoint(rest, first, use_reentrant=reentrant)
            with pytest.raises(type(error)):
                last.square().sum().backward()
        net(draw(5)).square().sum().backward()
        windows.step()
        found.append([(row["window"], row["norm"]) for row in windows.history])
    assert found[0] == found[1]


def test_one_that_fails_within_a_reentrant_checkpoint_leaves_none():
    net = network()
    windows = AdaptiveWindows(net, **NOW)
    x = draw(0).requires_grad_()

    def block(x):
        return net[1](net[0](Failing.apply(x, RuntimeError("out of memory"))))

    with pytest.raises(RuntimeError, match="out of memory"):
        net[2:](checkpoint(block, x, use_reentrant=True)).sum().backward()
    assert not windows.store.flat.any()
    net(x).sum().backward()
    assert all(observer.table.any() for observer in windows.observers.values())


def test_a_sequence_in_parts_does_not_go_on_from_a_failed_one():
    found = []
    for fails in (False, True):
        torch.manual_seed(0)
        layer, lif = nn.Linear(6, 8).double(), LIF(4)
        windows = AdaptiveWindows(lif, **NOW)
        if fails:
            state, total = None, 0.0
            for number, frame in enumerate(draw(1)):
                current = layer(frame)
                if number == 2:
                    state = state._replace(potential=Failing.apply(state.potential, RuntimeError("broken")))
                spikes, state = lif.step(current, state)
                total = total + spikes.square().sum()
            with pytest.raises(RuntimeError, match="broken"):
                total.backward()
        state, total = None, 0.0
        for frame in draw(2, steps=2):  # as long as what the failed pass did not come to
            spikes, state = lif.step(layer(frame), state)
            total = total + (spikes * torch.arange(1.0, 9)).sum()
        total.backward()
        windows.step()
        found.append([[row["tgc"], row["window"], row["norm"]] for row in windows.history])
    assert found[0] == found[1]
    assert found[0][0][0]


def test_a_pass_that_ends_after_its_iteration_is_not_part_of_the_next_search():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), LIF(4, groups=2))  # shared windows are copied: autograd lets it pass
    windows = AdaptiveWindows(net, every=2, start=0)
    for seed in range(4):
        loss = net(draw(seed).float()).square().sum()
        windows.step()
        loss.backward()
    assert windows.kept == {"no gradient": 2 * 2}
    assert net[1].window.tolist() == [1.0, 1.0]


def test_the_rule_that_was_made_last_takes_over():
    x, y = batch(4)
    net, alone = Net(Plan()), Net(Plan())
    first = AdaptiveWindows(net, **NOW)
    second = AdaptiveWindows(net, every=None, start=0)
    first.detach()  # as the warning about two rules says
    net.loss(x, y).backward()
    second.step()
    expected = AdaptiveWindows(alone, every=None, start=0)
    alone.loss(x, y).backward()
    expected.step()
    assert lists(net) == lists(alone)
    assert not second.kept


def test_a_rule_that_waits_leaves_no_observer_of_the_one_before():
    net = Net(Plan())
    AdaptiveWindows(net, **NOW)
    AdaptiveWindows(net, every=100)
    assert all(neuron.observer is None for neuron in net.neurons)


def test_neurons_that_come_later_are_told_once(caplog):
    net = network()
    windows = AdaptiveWindows(net, **NOW)
    net[3] = LIF(4)
    net.append(LIF(4))
    with caplog.at_level(logging.WARNING, "a2sg"):
        for seed in range(2):
            net(draw(seed)).sum().backward()
            windows.step()
    (told,) = [text for text in caplog.messages if "put into the model" in text]
    assert "windows of 2 layers are not searched" in told
    assert told.endswith("make the rule again: 3, 4")


def test_adapted_models_know_which_neurons_they_have(caplog):
    net = network()
    windows = a2sg.adapt(net, steps=4, **NOW)
    with caplog.at_level(logging.WARNING, "a2sg"):
        net(draw(0)).square().sum().backward()
        windows.step()
    assert "put into the model" not in caplog.text
