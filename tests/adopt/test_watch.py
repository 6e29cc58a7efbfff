"""What is seen of a model that runs on an example; and that it is then what it was."""

import gc

import pytest
import torch
from torch import nn
from torch.autograd.function import FunctionMeta
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg.adopt.intercept import intercepting, name_of
from a2sg.adopt.watch import watch
from a2sg.errors import InputError
from published import ActFun, Detached, MadeInForward, MemUpdate, NormsByStep, T, act_fun

X = torch.randn(T, 5, 9, generator=torch.Generator().manual_seed(0))


class Loops(nn.Module):
    """Calls one function for itself and one in a part."""

    def __init__(self):
        super().__init__()
        self.linear, self.part = nn.Linear(9, 9), MemUpdate()
        self.noise = 0

    def forward(self, x, scale=1.0):
        self.noise = torch.rand(1)
        return self.part(self.linear(x)) * scale + act_fun(self.linear(x[0]))


def test_every_call_is_seen_where_it_is_made():
    calls = watch(Loops(), X)
    assert [call.module for call in calls] == ["part"] * T + [""]
    assert {call.function for call in calls} == {ActFun}
    assert {call.forward for call in calls} == {1}
    assert all(call.reached and call.whole and not call.replayed for call in calls)
    lines = [call.line for call in calls]
    assert len(set(lines)) == 2, "the loop's calls are made at one line"


@pytest.mark.parametrize("example", [X, (X, 2.0), [X], {"x": X, "scale": 3.0}], ids=type)
def test_examples_of_every_form(example):
    assert len(watch(Loops(), example)) == T + 1


def test_an_example_may_be_a_loop():
    net = nn.Sequential(nn.Linear(9, 9), Detached())
    calls = watch(net, lambda: [net(x) for x in X])
    assert [call.forward for call in calls] == [1, 2, 3, 4]

    def online():
        for x in X:
            net(x).sum().backward()

    assert [call.reached for call in watch(net, online)] == [True] * T


def test_a_class_made_in_forward_has_one_name():
    calls = watch(nn.Sequential(nn.Linear(9, 9), MadeInForward(), nn.Linear(9, 9), MadeInForward()), X)
    assert len({call.function for call in calls}) == 2
    assert len({name_of(call.function) for call in calls}) == 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_calls_that_a_checkpoint_repeats_are_seen_once(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.fire = nn.Linear(9, 9), MemUpdate()

        def forward(self, x):
            return checkpoint(self.fire, self.linear(x), use_reentrant=reentrant)

    calls = watch(Checkpointed(), X)
    assert [call.replayed for call in calls] == [reentrant] * T
    assert all(call.reached for call in calls)


def test_nothing_is_kept():
    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    net = Loops()
    before = tensors()
    assert watch(net, X)
    assert tensors() <= before


def test_lazy_modules_must_have_run():
    with pytest.raises(InputError, match="has lazy modules: run it once before"):
        watch(nn.LazyLinear(3), X)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_what_it_was(fails):
    net = nn.Sequential(NormsByStep(), Detached(), nn.Dropout(), Loops())
    net[3].linear.weight.requires_grad_(False)
    net[1].v = torch.ones(5, 4)
    net[0].head.weight.grad = torch.ones(4, 9)
    net[3].kept = [1]

    def run():
        net[2](net[1](net[0](X))).sum().backward()
        net[3](X)
        net[3].kept.append(2)
        if fails:
            raise RuntimeError("no")

    before = [dict(vars(module)) for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(InputError, match=r"does not run on example=, .* \(RuntimeError: no\)"):
            watch(net, run)
    else:
        assert watch(net, run)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    for module, own in zip(net.modules(), before, strict=True):
        assert vars(module).keys() == own.keys()
        assert all(vars(module)[name] is value for name, value in own.items())
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert net[3].kept == [1]
    grads = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert grads == {"0.head.weight"}
    assert torch.equal(net[0].head.weight.grad, torch.ones(4, 9))
    assert not net[3].linear.weight.requires_grad
    assert net[3].linear.bias.requires_grad


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
