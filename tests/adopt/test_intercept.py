"""Calls of spike functions are intercepted by whatever name; and differentiated as ours, twice if wanted."""

import pytest
import torch
from torch import nn
from torch.autograd.function import FunctionMeta

import a2sg
from a2sg.adopt.intercept import intercepting
from published import ActFun, act_fun


def listened():
    """What torch has more of while there is a handler."""
    return [
        name
        for owner, name in ((torch.autograd.Function.__mro__[1], "apply"), (FunctionMeta, "__getattribute__"))
        if name in vars(owner)
    ]


def test_torch_is_as_it_was_when_nobody_listens():
    seen = []

    def see(function, args, apply):
        seen.append((function, torch.is_grad_enabled()))
        return apply(*args)

    def inner(function, args, apply):
        seen.append("inner")
        return apply(*args)

    x = torch.ones(2, requires_grad=True)
    with intercepting(see):
        act_fun(x)
        with intercepting(inner):
            assert (act_fun(x) == 1).all()
        with torch.no_grad():
            ActFun.apply(x)
        assert len(listened()) == 1
    assert seen == [(ActFun, True), "inner", (ActFun, False)]
    assert listened() == []
    assert (act_fun(x) == 1).all()
    with pytest.raises(KeyError), intercepting(see):
        raise KeyError
    assert listened() == []


class Apart(torch.autograd.Function):
    """Its context is set up apart, and another function is called inside."""

    @staticmethod
    def forward(potential, scale):
        return ActFun.apply(potential) * scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx, upstream):
        return upstream * 100, None


class Through(torch.autograd.Function):
    """Calls the other one's forward, not the function."""

    @staticmethod
    def forward(ctx, potential):
        return ActFun.forward(ctx, potential)

    @staticmethod
    def backward(ctx, upstream):
        return upstream * 100


apart, through = Apart.apply, Through.apply


@pytest.mark.parametrize("call", [lambda x: apart(x, 1.0), lambda x: Apart.apply(x, 1.0), through])
def test_functions_are_seen_however_they_are_written(call):
    seen = []

    def see(function, args, apply):
        if torch.is_grad_enabled():
            seen.append((function, args[0]))
        return apply(*args)

    x = torch.ones(2, requires_grad=True)
    with intercepting(see):
        call(x)
    assert len(seen) == 1
    assert seen[0][0] in (Apart, Through)
    assert seen[0][1] is x


class Calls(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return torch.stack([self.call(self.linear(one)) for one in x])


@pytest.mark.parametrize("call", [lambda x: apart(x, 1.0), lambda x: Apart.apply(x, 1.0), through, act_fun])
def test_adapted_functions_have_our_gradient_and_its_derivative(call):
    torch.manual_seed(0)
    net = Calls(call).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    a2sg.adapt(net, steps=2, example=x, surrogate=a2sg.surrogate.Asymmetric(), window=1.5)
    first = torch.autograd.grad(net(x).pow(2).sum(), net.linear.weight, create_graph=True)[0]
    second = torch.autograd.grad(first.pow(2).sum(), net.linear.weight)[0]

    weight = net.linear.weight.detach().clone().requires_grad_()
    potential = x @ weight.T + net.linear.bias.detach()
    site = a2sg.SpikeSite(2, surrogate=a2sg.surrogate.Asymmetric(), window=1.5)
    site.begin()
    spikes = torch.stack([a2sg.spike(one - 0.5, site) for one in potential])
    expected = torch.autograd.grad(spikes.pow(2).sum(), weight, create_graph=True)[0]
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, torch.autograd.grad(expected.pow(2).sum(), weight)[0])
