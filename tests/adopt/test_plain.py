"""Spike functions that the user names: where they fire is looked at, and told if it is not what was said."""

import pytest
import torch
from torch import nn
from torch.autograd import Function

import a2sg
from a2sg.errors import InputError
from networks import NOW
from published import WIDE, Above, ActFun, Quant, T, act_fun, function
from styles import STYLES

STBP = next(style for style in STYLES if style.name == "STBP")
X = STBP.example()
SIGN = function(torch.sign)
REACHED = function(lambda u: (u >= 0).to(u.dtype))
DRAWN = function(lambda u: (torch.rand_like(u) < u.sigmoid()).to(u.dtype))


class Named(nn.Module):
    """A module whose attribute is a spike function, to be named."""

    def __init__(self, act):
        super().__init__()
        self.linear, self.act = nn.Linear(WIDE, WIDE).double(), act

    def forward(self, x):
        return self.act(self.linear(x))


def levels(u):
    return Quant.apply(u, 0, 4)


def quarters(u):
    return function(lambda u: u.clamp(0, 4).round() / 4)(u)


@pytest.mark.parametrize(
    ("act", "said", "message"),
    [
        (levels, "act", "act fires at 0, but it fires at 0.5, 1.5, 2.5, 3.5: correct functions"),
        (levels, ("act", [0.5, 1.5]), "fires at 0.5, 1.5, but it fires at 0.5, 1.5, 2.5, 3.5"),
        (quarters, ("act", [0.5, 1.5, 2.5, 3.5]), "but it fires at 0.5, 1.5, 2.5, 3.5 \\(by 0.25\\)"),
        (act_fun, "act", "fires at 0, but it fires at 0.5"),
        (
            SIGN,
            "act",
            "fires at 0, but it has the levels -1, 0, 1, not 0 and above: name a function that gives",
        ),
        (
            torch.sigmoid,
            "act",
            "fires at 0, but it has no levels: name a function that gives 0 below a threshold",
        ),
        (REACHED, "act", ""),
        (levels, ("act", [0.5, 1.5, 2.5, 3.5]), ""),
        (act_fun, ("act", 0.5), ""),
        (DRAWN, ("act", 0.5), ""),
    ],
)
def test_named_thresholds_must_be_those_of_the_function(act, said, message):
    net = Named(act)
    windows = a2sg.adapt(net, steps=1, functions={Named: said}, **NOW)
    if message:
        with pytest.raises(InputError, match=message):
            net(X[0])
    else:
        torch.manual_seed(1)
        out = net(X[0])
        out.sum().backward()
        windows.step()
        torch.manual_seed(1)
        assert torch.equal(windows.revert()(X[0]), out), "trying it draws no numbers"


def test_several_thresholds_by_name_are_as_those_that_are_found():
    found = []
    for how in ({"functions": {Named: ("act", [0.5, 1.5, 2.5, 3.5])}}, {"example": X[0]}):
        torch.manual_seed(0)
        net = Named(levels)
        windows = a2sg.adapt(net, steps=1, **how, **NOW)
        net(X[0]).square().sum().backward()
        windows.step()
        found.append((net.linear.weight.grad.tolist(), windows.history[0]["window"]))
    assert found[0] == found[1]


def test_shares_of_spikes_have_a_share_of_the_gradient():
    """A function with levels of 1/4 beside four times a quarter of one with whole levels."""
    found = []
    for act in (quarters, lambda u: levels(u) / 4):
        torch.manual_seed(0)
        net = Named(act)
        windows = a2sg.adapt(net, steps=1, example=X[0], **NOW)
        for _ in range(2):
            net.zero_grad()
            net(X[0]).square().sum().backward()
            windows.step()
        found.append((net.linear.weight.grad, windows.history))
    torch.testing.assert_close(found[0][0], found[1][0])
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        assert mine["window"] == theirs["window"]
        assert (mine["sgv"] or 0) == pytest.approx(theirs["sgv"] or 0)


def test_functions_by_class():
    windows = a2sg.adapt(STBP.build(), steps=T, functions={ActFun: 0.5}, example=X)
    assert list(windows.sites) == STBP.layers
    for functions, example, message in (
        ({ActFun: 0.4}, X, "ActFun fires at 0.4, but it fires at 0.5"),
        ({Above: 0.0}, X, "functions names Above, which is not called in the example"),
        (
            {ActFun: 0.5},
            None,
            "functions names ActFun: pass example=batch, which shows where a function",
        ),
        (
            {ActFun: "act"},
            X,
            "or an autograd.Function to where it fires, not <class 'published.ActFun'>: 'act'",
        ),
        ({ActFun: [1.5, 0.5]}, X, "or an autograd.Function to where it fires"),
    ):
        with pytest.raises(InputError) as error:
            a2sg.adapt(STBP.build(), steps=T, functions=functions, example=example)
        assert message in str(error.value)


def test_a_named_function_may_draw_its_spikes():
    class Draws(Function):
        forward = staticmethod(lambda ctx, u: (torch.rand_like(u) < u.sigmoid()).to(u.dtype))
        backward = staticmethod(lambda ctx, grad: grad)

    net = Named(Draws.apply)
    windows = a2sg.adapt(net, steps=1, example=X[0], functions={Draws: 0.0}, **NOW)
    net(X[0]).sum().backward()
    windows.step()
    assert windows.kept["no gradient"] == 0


def test_what_was_changed_while_adapted_is_told():
    for change, how in {"act": {"functions": {Named: ("act", 0.5)}}, "forward": {"example": X[0]}}.items():
        net = Named(act_fun)
        windows = a2sg.adapt(net, steps=1, **how)
        setattr(net, change, act_fun)
        net(X[0])
        with pytest.raises(InputError, match=f"{change} was changed to .* while it was adapted, so its libr"):
            windows.step()
