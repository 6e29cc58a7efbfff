"""Steps that activation checkpointing repeats, and passes that break off: each step keeps its own window."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg.errors import InputError
from a2sg.surrogate import Arctan, Asymmetric
from networks import NOW

T = 4
WINDOWS = torch.tensor([0.3, 0.5, 0.8, 1.1])


class Cell(nn.Module):
    """One step of a layer, whose potential the caller keeps."""

    def __init__(self, surrogate):
        super().__init__()
        self.weights = nn.Linear(6, 6)
        self.site = a2sg.SpikeSite(T, surrogate=surrogate, window=WINDOWS)

    def forward(self, x, v):
        u = 0.9 * v + self.weights(x)
        spikes = a2sg.spike(u - 0.3, self.site)
        return spikes, u - 0.3 * spikes


class Net(nn.Module):
    """Two layers; `run` calls a cell, and an exception is raised before the step `fails`."""

    def __init__(self, surrogate=Asymmetric(), run=lambda cell, *args: cell(*args)):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = Cell(surrogate), Cell(surrogate)
        self.run = run
        self.fails = None
        self.double()

    def forward(self, x):
        v = w = torch.zeros_like(x[0])
        total = 0.0
        for step, frame in enumerate(x):
            if step == self.fails:
                raise MemoryError("out of memory")
            spikes, v = self.run(self.first, frame, v)
            spikes, w = self.run(self.second, spikes, w)
            total = total + spikes
        return total


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, 5, 6, generator=generator, dtype=torch.float64).requires_grad_()


def gradients(net, seed=0):
    net.zero_grad()
    net(draw(seed)).square().sum().backward()
    return [parameter.grad for parameter in net.parameters()]


def same(mine, theirs):
    return all(map(torch.equal, mine, theirs))


RULES = {
    "adapted": lambda net, **options: a2sg.adapt(net, steps=T, **options),
    "bare": lambda net, **options: a2sg.AdaptiveWindows(net, **options),
}


@pytest.mark.parametrize("make", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("surrogate", [Asymmetric(), Arctan()], ids=str)
@pytest.mark.parametrize("observed", [True, False])
def test_each_step_may_be_checkpointed_alone(make, surrogate, observed):
    found = []
    for run in (lambda cell, *args: cell(*args), lambda *args: checkpoint(*args, use_reentrant=False)):
        net = Net(surrogate, run)
        rule = make(net, every=1, start=0 if observed else 9)
        grads = gradients(net)
        rule.step()
        found.append((grads, [row["window"] for row in rule.history]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert bool(found[0][1]) == observed


@pytest.mark.parametrize("make", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("observed", [True, False])
def test_where_the_steps_cannot_be_told_apart_it_is_told(make, observed):
    net = Net(run=lambda *args: checkpoint(*args, use_reentrant=True))
    rule = make(net, every=1, start=0 if observed else 9)
    with pytest.raises(InputError, match=r"repeats parts of a sequence.*use use_reentrant=False"):
        gradients(net)
    net.run = lambda cell, *args: cell(*args)
    assert same(gradients(net), gradients(Net()))  # the next pass is right
    rule.step()


def test_all_steps_together_may_be_checkpointed_either_way():
    expected = gradients(Net())
    for reentrant in (True, False):
        net = Net()
        for _ in range(2):
            net.zero_grad()
            checkpoint(net, draw(), use_reentrant=reentrant).square().sum().backward()
            assert same([parameter.grad for parameter in net.parameters()], expected)


def test_after_a_repeat_that_broke_off_steps_are_counted_again():
    net = Net()
    failing, times = draw(), []

    def forward(x):
        times.append(1)
        net.fails = 2 if len(times) == 2 else None  # within the backward pass
        return net(x)

    with pytest.raises(MemoryError):
        checkpoint(forward, failing, use_reentrant=True).square().sum().backward()
    net.zero_grad()
    checkpoint(forward, draw(), use_reentrant=True).square().sum().backward()
    assert same([parameter.grad for parameter in net.parameters()], gradients(Net()))


def test_after_a_forward_that_failed_an_adapted_model_goes_on():
    net = Net()
    windows = a2sg.adapt(net, steps=T, **NOW)
    net.fails = 2
    with pytest.raises(MemoryError):
        net(draw())
    net.fails = None
    other = Net()
    again = a2sg.adapt(other, steps=T, **NOW)
    for seed in range(2):
        assert same(gradients(net, seed), gradients(other, seed))
        windows.step()
        again.step()
    assert windows.history == again.history


def test_sites_alone_say_that_a_sequence_broke_off():
    net = Net()
    windows = a2sg.AdaptiveWindows(net, every=1, start=9)
    net.fails = 2
    with pytest.raises(MemoryError):
        net(draw())
    net.fails = None
    gradients(net)
    with pytest.raises(InputError, match=r"saw 2 steps of a sequence, but steps=4.*was broken off: go on"):
        windows.step()
    assert same(gradients(net), gradients(Net()))
    windows.step()


def test_revert_removes_the_hooks():
    net = Net()
    windows = a2sg.adapt(net, steps=T)
    assert net._forward_hooks
    assert net._forward_pre_hooks
    windows.revert()
    assert not net._forward_hooks
    assert not net._forward_hooks_always_called
    assert not net._forward_pre_hooks


@pytest.mark.parametrize("make", RULES.values(), ids=list(RULES))
def test_passes_after_every_step_that_go_back_to_the_first_are_sequences_of_their_own(make):
    """A loss for each step, whose backward pass keeps the graph, adds the sums of T separate passes."""
    found = []
    for alone in (False, True):
        net = Net()
        rule = make(net, **NOW)
        for only in range(T) if alone else [None]:
            v = w = torch.zeros(5, 6, dtype=torch.float64)
            losses = []
            for step, frame in enumerate(draw()):
                spikes, v = net.first(frame, v)
                spikes, w = net.second(spikes, w)
                losses.append((spikes * torch.arange(1.0, 7)).square().sum() * (step + 1))
                if not alone:
                    losses[-1].backward(retain_graph=True)
            if alone:
                losses[only].backward()
        rule.step()
        found.append(rule.history)
    for mine, theirs in zip(*found, strict=True):
        assert mine["window"] == theirs["window"]
        assert mine["sgv"] == pytest.approx(theirs["sgv"], rel=1e-9)
        assert (mine["tgc"] or 0) == pytest.approx(theirs["tgc"] or 0, rel=1e-9)
