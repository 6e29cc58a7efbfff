"""What counts as a site: classes that say so, on every Python."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.fills import uncompiled
from a2sg.kernels.gate import Gate
from a2sg.kernels.watch import Steps
from a2sg.surrogate import Asymmetric, Triangle
from a2sg.window import Site
from a2sg.window.site import sites_of


class Fire(torch.autograd.Function):
    """Spikes where the input reaches 1, at every step for itself: a `LIF` that forgets at once."""

    @staticmethod
    def forward(ctx, current, site):
        ctx.save_for_backward(current)
        ctx.site = site
        return (current >= 1).to(current.dtype)

    @staticmethod
    def backward(ctx, upstream):
        (current,) = ctx.saved_tensors
        site, gate = ctx.site, Gate(ctx.site.surrogate, (1.0,))
        look = site.observer.watch(gate, site.window, uncompiled) if site.observer else None
        deltas = []
        for t in reversed(range(site.steps)):
            deltas.append(upstream[t] * gate.derivative(current[t], site.window[t]))
            if look:
                look(Steps.one(t, current[t], upstream[t], None, deltas[-1]))
        return torch.stack(deltas[::-1]), None


class Own(Site):
    def forward(self, current):
        return Fire.apply(current, self)


class Undeclared(nn.Module):
    """Has all that a site has, and is none."""

    def __init__(self):
        super().__init__()
        self.steps, self.surrogate, self.observer = 3, Triangle(), None
        self.register_buffer("window", torch.ones(3))


@pytest.mark.parametrize("shape", [Asymmetric(), Triangle()])
def test_a_site_of_ones_own_is_searched_like_a_neuron(shape):
    found = []
    for spiking in (Own(3, shape), a2sg.LIF(3, decay=0.0, surrogate=shape, detach_reset=True)):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 20), spiking, nn.Linear(20, 4)).double()
        windows = a2sg.AdaptiveWindows(net, every=1, start=0)
        net(2 * torch.randn(3, 8, 6, dtype=torch.float64)).square().sum().backward()
        windows.step()
        found.append((net[0].weight.grad, [(row["layer"], row["window"]) for row in windows.history]))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert any(window != 1.0 for _, window in found[0][1])


def test_sites_are_what_declares_to_be_one():
    net = nn.Sequential(
        a2sg.LIF(3),
        a2sg.IF(3),
        a2sg.PLIF(3),
        a2sg.IntegerLIF(3),
        a2sg.SpikeSite(3),
        Own(3, Triangle()),
        Undeclared(),
    )
    assert list(sites_of(net)) == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(InputError, match="found no spiking neurons"):
        a2sg.AdaptiveWindows(Undeclared())


@pytest.mark.parametrize(
    ("steps", "shape", "window", "message"),
    [
        (0, Triangle(), 1.0, "steps must be a whole number of at least 1, not 0"),
        (2, "triangle", 1.0, "surrogate must be a shape .*, not 'triangle'"),
        (2, Triangle(), [0.5], "one for each of the 2 steps"),
        (2, Triangle(), -1.0, "window must be above 0, not -1.0"),
    ],
)
def test_bad_values_are_told(steps, shape, window, message):
    with pytest.raises(InputError, match=message):
        Own(steps, shape, window=window)
