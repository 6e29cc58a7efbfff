"""Spike functions that `a2sg.adapt` cannot give a window, or that are not what was said, are told."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import a2sg
import published
from a2sg.errors import InputError
from networks import NOW
from published import (
    WIDE,
    Above,
    ActFun,
    ByClass,
    MemUpdate,
    Quant,
    SharedNeuron,
    T,
    act_fun,
    function,
)
from styles import STYLES

BY_NAME = {style.name: style for style in STYLES}
X = BY_NAME["STBP"].example()


class Calls(nn.Module):
    """Calls something with the potential of a linear layer."""

    def __init__(self, call, trained=0.5):
        super().__init__()
        self.linear, self.call, self.low = nn.Linear(WIDE, WIDE).double(), call, 0
        self.threshold = nn.Parameter(torch.tensor(trained))

    def forward(self, x):
        return self.call(self, self.linear(x))


SIGN, ROUND = function(torch.sign), function(torch.round)
AT = function(lambda u, threshold: (u >= threshold).to(u.dtype))
REACHED = function(lambda u: (u >= 0).to(u.dtype))
RUNNING = function(lambda u: (u.cumsum(0) >= 1.0).to(u.dtype))
DRAWN = function(lambda u: (torch.rand_like(u) < u.sigmoid()).to(u.dtype))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda net, u: SIGN(u), "Fire has the levels -1, 0, 1, not 0 and above"),
        (lambda net, u: AT(u, net.threshold), "Fire has a gradient for argument 2 too, such as a threshold"),
        (
            lambda net, u: AT(u, torch.ones(WIDE)),
            "Fire cannot be tried on single potentials (ValueError): does a tensor",
        ),
        (lambda net, u: AT(u, torch.tensor(0.3)), "Fire fires where a tensor decides, argument 2"),
        (lambda net, u: RUNNING(u), "Fire"),
        (lambda net, u: DRAWN(u), "Fire"),
    ],
)
def test_what_is_left_alone_and_why(call, reason, caplog):
    net = nn.Sequential(Calls(call), Calls(lambda net, u: act_fun(u)))
    windows = a2sg.adapt(net, steps=1, example=X[0])
    assert list(windows.sites) == ["1"]
    assert windows.left_alone["0"].startswith(reason)
    assert f"layer '0' is left alone: {reason}" in caplog.text
    assert f"0 is left alone: {reason}" in str(windows)


@pytest.mark.parametrize(
    "call",
    [
        lambda net, u: u.relu(),
        lambda net, u: ROUND(u * 100) / 100,
        lambda net, u: function(torch.sigmoid)(u),
        lambda net, u: ActFun.apply(u.detach()) + u,
    ],
)
def test_where_nothing_makes_spikes(call):
    with pytest.raises(
        InputError, match=r"no autograd\.Function that makes spikes in the example: call a2sg"
    ):
        a2sg.adapt(Calls(call), steps=1, example=X)


def test_what_to_do_is_said_where_nothing_is_named():
    with pytest.raises(InputError, match="pass example=batch to find your own spike functions by watching"):
        a2sg.adapt(BY_NAME["STBP"].build(), steps=T)
    with pytest.raises(InputError, match=r"MemUpdate has no spike function 'act_fun'.*pass example=batch"):
        a2sg.adapt(BY_NAME["MS-ResNet"].build(), steps=T, functions={MemUpdate: "act_fun"})


@pytest.mark.parametrize("name", ["STBP", "shared-neuron", "shared-over-time"])
@pytest.mark.parametrize("steps", [2, 3, 5, 8])
def test_another_t_than_that_of_the_example(name, steps):
    style = BY_NAME[name]
    with pytest.raises(InputError, match=rf"calls spike functions 8 times in the example, 4 .*steps={steps}"):
        a2sg.adapt(style.build(), steps=steps, example=style.example())


def test_another_t_than_that_of_the_example_in_training():
    net = BY_NAME["STBP"].build()
    a2sg.adapt(net, steps=T, example=X)
    with pytest.raises(InputError, match="the model called spike functions more than 8 times in a forward"):
        net(torch.cat([X, X]))
    net(X[:2])
    with pytest.raises(InputError, match="saw 2 steps of a sequence, but steps=4"):
        net(X)
    net(X)
    with torch.no_grad():
        net(torch.cat([X, X]))


def test_layers_with_a_weight_in_common_at_one_line():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDE, WIDE).double()

        def forward(self, x):
            for _ in range(2):
                x = act_fun(self.linear(x))
            return x

    with pytest.raises(
        InputError, match=r"2 times for what seems one layer, but steps=1: .*a weight in common"
    ):
        a2sg.adapt(Tied(), steps=1, example=X[0])


def test_lines_tell_layers_with_a_weight_in_common_apart():
    class Parts(nn.Module):
        """Queries and keys are halves of one layer's potentials."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDE, 8).double()

        def forward(self, x):
            q, k = self.linear(x).chunk(2, dim=-1)
            q = act_fun(q)
            k = act_fun(k)
            return q * k

    net = Parts()
    windows = a2sg.adapt(net, steps=1, example=X[0], **NOW)
    assert [row.calls for row in windows.found] == ["1", "2"]
    net(X[0]).sum().backward()
    windows.step()
    assert windows.kept["no gradient"] == 0


def test_a_layer_left_out_is_told():
    class Skips(published.TimeOutside):
        skip = False

        def forward(self, x):
            s1 = act_fun(self.first(x))
            return self.head(s1 if self.skip else act_fun(self.second(s1)))

    net = Skips().double()
    windows = a2sg.adapt(net, steps=1, example=X[0])
    net.skip = True
    net(X[0]).sum().backward()
    with pytest.raises(InputError, match="1 times in a forward pass, but 2 times in the example"):
        windows.step()


def test_calls_in_another_order_from_forward_to_forward():
    class Turns(published.TimeOutside):
        def forward(self, x, turned):
            first, second = (self.second, self.first) if turned else (self.first, self.second)
            return act_fun(second(act_fun(first(x))))

    net = Turns().double()
    with pytest.raises(InputError, match="in a different order from one forward pass to the next"):
        a2sg.adapt(net, steps=2, example=lambda: net(X[0], True) + net(X[0], False))


def test_arguments_that_decide_where_it_fires_must_stay():
    net = Calls(lambda net, u: Quant.apply(u, net.low, 4))
    a2sg.adapt(net, steps=1, example=X)
    net.low = 2
    with pytest.raises(InputError, match=r"argument 2 of published.Quant is 2, not 0 as in the example"):
        net(X)


def test_arguments_of_the_backward_pass_may_change():
    net = nn.Sequential(nn.Linear(WIDE, WIDE).double(), ByClass())
    a2sg.adapt(net, steps=T, example=X)
    net[1].width = 0.5
    net(X).sum().backward()


def test_spikes_may_be_written_into():
    net = Calls(lambda net, u: REACHED(u).mul_(0.5))
    windows = a2sg.adapt(net, steps=1, example=X[0], **NOW)
    net(X[0]).sum().backward()
    windows.step()
    assert windows.kept["no gradient"] == 0


def test_another_function_than_in_the_example():
    net = Calls(lambda net, u: act_fun(u) + Above.apply(u - 1))
    windows = a2sg.adapt(net, steps=1, example=X[0])
    assert list(windows.sites) == ["ActFun.1", "Above.2"]
    net.call = lambda net, u: Above.apply(u - 1) + act_fun(u)
    with pytest.raises(
        InputError, match=r"layer 'ActFun\.1' called published\.Above, not published\.ActFun as"
    ):
        net(X[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_one_layer_and_of_several(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, x):
            return checkpoint(self.part, x.requires_grad_(), use_reentrant=reentrant)

    gradients = []
    for wrap in (Checkpointed, nn.Sequential):
        torch.manual_seed(0)
        net = wrap(nn.Sequential(nn.Linear(WIDE, WIDE), MemUpdate()).double())
        windows = a2sg.adapt(net, steps=T, example=X.clone(), window=0.7)
        net(X.clone()).sum().backward()
        windows.step()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    net = Checkpointed(SharedNeuron().double())
    a2sg.adapt(net, steps=T, example=X.clone())
    out = net(X.clone())
    with pytest.raises(InputError, match="for several layers, and activation checkpointing repeats some"):
        out.sum().backward()


def test_replicas_are_refused():
    """What `nn.DataParallel` makes of a model on several devices."""
    for style in (BY_NAME["STBP"], BY_NAME["MS-ResNet"]):
        net = style.build()
        a2sg.adapt(net, steps=T, example=X)
        assert nn.DataParallel(net)(X).shape == net(X).shape  # without a GPU it is the model itself
        with pytest.raises(InputError, match=r"cannot run in nn.DataParallel.*DistributedDataParallel"):
            net._replicate_for_data_parallel()(X)
