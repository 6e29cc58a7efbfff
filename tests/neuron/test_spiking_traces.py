"""Traces worked out by hand, and what the integer neuron is."""

import pytest
import torch

from a2sg import IF, LIF, IntegerLIF
from a2sg.surrogate import Boxcar, Triangle
from neurons import spikes_and_gradients


def check_trace(neuron, current, spikes, gradient):
    """Loss: the sum of all outputs. Boxcar: f = 1 where |u - 1| <= window."""
    assert len(spikes) == neuron.steps
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor(current, dtype=dtype).reshape(-1, 1).requires_grad_()
        out = neuron(x)
        out.sum().backward()
        assert out.flatten().tolist() == spikes
        assert x.grad.flatten().tolist() == gradient


def test_golden_soft():
    # decay 1/2:  u = .75 | .375+1 = 1.375 spike, v = .375 | .1875+.25 = .4375 | .21875+1.5 = 1.71875 spike
    # window 1/2: f = 1 (x = -.25) | 1 (.375) | 0 (-.5625) | 0 (.71875)
    # backward:   G4 = 0, G3 = 0 | G2 = 1 | dL/dv1 = 1/2, up1 = 1 - 1/2, G1 = 1/2 + 1/2
    current = [0.75, 1.0, 0.25, 1.5]
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=0.5)
    check_trace(neuron, current, [0, 1, 0, 1], [1, 1, 0, 0])
    # detached: up1 = 1, so G1 = 1 + 1/2
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=0.5, detach_reset=True)
    check_trace(neuron, current, [0, 1, 0, 1], [1.5, 1, 0, 0])
    # one window per step, 1/4 at step 2: f2 = 0 (x = .375), so G2 = 0; G1 = 1 (x = -.25 is the very edge)
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=[0.25, 0.25, 0.5, 0.5])
    check_trace(neuron, current, [0, 1, 0, 1], [1, 0, 0, 0])


def test_golden_hard():
    # decay 1/2:  u = .75 | 1.375 spike, v = 0 | .25 | .125+1.5 = 1.625 spike;  window 1: f = 1 everywhere
    # G4 = 1 | dv3 = 1/2, up3 = 1 - .25/2 = .875, G3 = .875 + .5 = 1.375
    # dv2 = .6875, up2 = 1 - 1.375 * .6875 = .0546875, no carry through the reset: G2 = .0546875
    # dv1 = .02734375, up1 = 1 - .75 * .02734375 = .9794921875, G1 = up1 + dv1 = 1.0068359375
    current = [0.75, 1.0, 0.25, 1.5]
    neuron = LIF(4, decay=0.5, reset="hard", surrogate=Boxcar(), window=1.0)
    check_trace(neuron, current, [0, 1, 0, 1], [1.0068359375, 0.0546875, 1.375, 1])
    # detached: G3 = 1 + 1/2 | G2 = 1 | G1 = 1 + 1/2
    neuron = LIF(4, decay=0.5, reset="hard", surrogate=Boxcar(), window=1.0, detach_reset=True)
    check_trace(neuron, current, [0, 1, 0, 1], [1.5, 1, 1.5, 1])


def test_golden_scaled():
    # u = (v + I) / 2: .75 | 3.25/2 = 1.625 spike, v = .625 | 1.625/2 = .8125 | 3.8125/2 = 1.90625 spike
    # detached, window 1: G4 = 1 | G3 = 1.5 | G2 = 1.75 | G1 = 1.875; dL/dI = G / 2
    neuron = LIF(4, decay=0.5, order="scaled", detach_reset=True, surrogate=Boxcar(), window=1.0)
    check_trace(neuron, [1.5, 2.5, 1.0, 3.0], [0, 1, 0, 1], [0.9375, 0.875, 0.75, 0.5])


def test_golden_integrate_and_fire():
    # threshold 2: u = 1.5 | 2.5 spike, v = .5 | 2.0 spike (reached, not passed), v = 0
    # asymmetric, window 1, x = u - 2: f = .25 (x = -.5) | .75 (.5) | .5 (0)
    # G3 = .5 | up2 = 1 - 2 * .5 = 0, G2 = .5 | up1 = 1 - 2 * .5 = 0, G1 = .5
    check_trace(IF(3, threshold=2.0, window=1.0), [1.5, 1.0, 1.5], [0, 1, 1], [0.5, 0.5, 0.5])


def test_golden_integer():
    # 4 levels, decay 1/2, loss: the sum of s/4, so dL/ds = 1/4 beside the reset
    # u = 2.75, s = 3, v = -.25 | -1.125, s = 0 | -.5625+.75 = .1875, s = 0 | .09375+5.5 = 5.59375, s = 4
    # straight through: f = 1 | 0 | 1 | 0
    # G4 = 0 | G3 = .25 | dv2 = .125, G2 = 0 + .125 | dv1 = .0625, G1 = (.25 - .0625) + .0625
    neuron = IntegerLIF(steps=4, decay=0.5)
    check_trace(neuron, [2.75, -1.0, 0.75, 5.5], [0.75, 0, 0, 1], [0.25, 0.125, 0.25, 0])


@pytest.mark.parametrize("levels", [1, 2, 4, 7])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_integer_neuron_rounds_and_is_the_straight_through_estimator(levels, threshold, normalize):
    """Also at integers and at both ends, where neighbouring windows touch."""
    x = torch.linspace(-2, levels + 2, 8 * (levels + 4) + 1, dtype=torch.float64) * threshold
    x = x.reshape(1, 1, -1).requires_grad_()
    neuron = IntegerLIF(levels=levels, threshold=threshold, window=threshold / 2, normalize=normalize)
    out = neuron(x)
    u = x.detach() / threshold
    clipped = u.clamp(0, levels)
    scale = levels if normalize else 1
    on_tie = clipped.remainder(1) == 0.5
    expected = torch.where(on_tie, (clipped + 0.5).floor(), clipped.round()) / scale
    assert torch.equal(out, expected)
    weights = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    # Straight through: round is the identity, clip has derivative 1 on [0, levels], both ends included, where
    # torch's clamp has 0, 1/2 or 1 by its version and arguments; f is of height 1 in the potential.
    inside = (u >= 0) & (u <= levels)
    torch.testing.assert_close(x.grad, inside * weights / scale, rtol=1e-14, atol=0)


def test_integer_neuron_of_one_level_is_a_lif_of_half_the_firing_threshold():
    """One level fires at threshold / 2 but subtracts the whole threshold: at T = 1 a LIF at half."""
    x = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(0))
    one = IntegerLIF(levels=1, threshold=1.0, surrogate=Triangle(), window=0.4)
    lif = LIF(1, threshold=0.5, surrogate=Triangle(), window=0.4)
    for a, b in zip(*[spikes_and_gradients(n, x, torch.ones_like(x)) for n in (one, lif)], strict=True):
        assert torch.equal(a, b)
