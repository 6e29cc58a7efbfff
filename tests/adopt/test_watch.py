"""What is seen of a model that runs on an example; and that it is then what it was."""

import gc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from a2sg.adopt.intercept import name_of
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
