"""CPNG: the share of neurons inside the window, against counting, closed forms and scipy."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import erfinv
from scipy.stats import norm
from torch import nn

import reference
from a2sg import LIF, InputError, IntegerLIF, SpikeSite
from a2sg.baselines import CPNG
from a2sg.baselines.cpng import share_within, window_for
from a2sg.surrogate import Triangle
from networks import NOW, Net, Plan, assert_alike, batch, lists, observe
from saved import reload

TRIANGLE = Plan(shape="triangle-unit")


def feed(neuron, mean, spread, count=40_000, seed=0):
    """One backward pass over Gaussian potentials u of a neuron of one step; returns u."""
    generator = torch.Generator().manual_seed(seed)
    current = mean + spread * torch.randn(1, 1, count, generator=generator)
    neuron(current.requires_grad_()).sum().backward()
    return current.detach()


def inside(potentials, threshold, window):
    return ((potentials - threshold).abs() <= window).double().mean().item()


def near(share, count=40_000):
    return pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / count))


@pytest.mark.parametrize("threshold", [1.0, 0.5])
@pytest.mark.parametrize(
    ("mean", "spread", "share"), [(0.0, 0.8, 0.5), (1.0, 1.0, 0.6), (2.0, 1.5, 0.4), (0.4, 0.5, 0.8)]
)
def test_gaussian_potentials_have_the_wanted_share_inside(mean, spread, share, threshold):
    neuron = LIF(1, threshold=threshold, surrogate=Triangle(area="unit"))
    policy = CPNG(neuron, **NOW, low=0.01, high=10.0, share=share)
    potentials = feed(neuron, mean, spread)
    assert policy.step()
    assert inside(potentials, threshold, neuron.window[0]) == near(share)


def test_the_first_windows_share_is_kept_as_potentials_move():
    neuron = LIF(1, surrogate=Triangle(area="unit"))
    policy = CPNG(neuron, **NOW)
    share = inside(feed(neuron, 0.2, 0.9), 1.0, 1.0)
    policy.step()
    assert neuron.window.item() == pytest.approx(1.0)
    assert policy.shares[""] == near(share)
    for seed, (mean, spread) in enumerate([(0.0, 0.9), (0.6, 1.1), (1.0, 1.3)], start=1):
        potentials = feed(neuron, mean, spread, seed=seed)
        policy.step()
        assert 0.5 < neuron.window.item() < 2.0
        assert inside(potentials, 1.0, neuron.window[0]) == near(share)


@given(st.floats(0.01, 0.99), st.floats(0.1, 3.0))
def test_around_the_threshold_the_window_is_the_closed_form(share, spread):
    window = window_for(share, 0.0, spread, 1e-4, 100.0)
    assert window == pytest.approx(spread * math.sqrt(2) * erfinv(share), rel=1e-9)


@given(
    st.floats(0.01, 0.99), st.floats(-3.0, 3.0), st.floats(0.1, 3.0), st.floats(0.1, 1.0), st.floats(1.1, 5)
)
def test_the_window_holds_the_share_or_is_the_nearest_end(share, mean, spread, low, high):
    def held(window):
        return norm.cdf(window, mean, spread) - norm.cdf(-window, mean, spread)

    window = window_for(share, mean, spread, low, high)
    assert share_within(window, mean, spread) == pytest.approx(held(window), abs=1e-12)
    if held(low) >= share:
        assert window == low
    elif held(high) <= share:
        assert window == high
    else:
        assert low < window < high
        assert held(window) == pytest.approx(share, abs=1e-9)


def potentials_at_last_step(net, x):
    """By the plain neuron of reference.py: layer to u[T] - threshold."""
    found, value = {}, x
    for layer, (name, window) in enumerate(net.windows().items()):
        done = reference.run(net.plan.reference(), net.current(layer, value), window.double())
        found[name], value = done.u[-1].detach() - net.plan.threshold, done.spikes
    return found


@pytest.mark.parametrize("plan", [TRIANGLE, Plan(shape="triangle-unit", threshold=0.5, conv=True)])
def test_a_network_against_float64(plan):
    net = Net(plan)
    x, y = batch(plan.steps, size=30)
    policy = CPNG(net, **NOW, low=0.05, high=5.0, share=0.4)
    wanted, counted = {}, {}
    for name, distance in potentials_at_last_step(net, x).items():
        mean, spread = distance.mean().item(), distance.std(correction=0).item()
        wanted[name] = brentq(
            lambda w, m=mean, s=spread: norm.cdf(w, m, s) - norm.cdf(-w, m, s) - 0.4, 0.05, 5.0, xtol=1e-13
        )
        counted[name] = (distance.abs() <= 1.0).double().mean().item()
    observe(net, policy, x, y)
    for name, windows in lists(net).items():
        assert windows == pytest.approx([wanted[name]] * 4, rel=1e-6)
    assert len(policy.history) == 2 * 4
    for row in policy.history:
        assert tuple(row) == policy.columns
        assert row["window_before"] == 1.0
        assert row["share"] == pytest.approx(0.4, abs=1e-6)
        assert row["inside_before"] == pytest.approx(counted[row["layer"]])


def test_micro_batches_add_up():
    x, y = batch(4, size=9)
    whole, parts = Net(TRIANGLE), Net(TRIANGLE)
    policies = [CPNG(net, **NOW, share=0.3, low=0.05) for net in (whole, parts)]
    whole.loss(x, y).backward()
    for at in (slice(0, 2), slice(2, 9)):
        parts.loss(x[:, at], y[at]).backward()
    for policy in policies:
        policy.step()
    for name, windows in lists(whole).items():
        assert lists(parts)[name] == pytest.approx(windows, rel=1e-6)


def test_spikes_and_gradients_do_not_change_while_it_looks():
    watched, alone = Net(TRIANGLE), Net(TRIANGLE)
    policy = CPNG(watched, **NOW, share=0.3, low=0.05)
    x, y = batch(4)
    assert_alike(watched, alone, x, y)
    policy.step()
    assert lists(watched) != lists(alone)
    assert torch.equal(watched(x), alone(x))


def test_windows_are_set_at_the_iterations_that_were_asked_for():
    net = Net(TRIANGLE)
    policy = CPNG(net, every=2, start=1, share=0.3, low=0.05)
    x, y = batch(4)
    for iteration in range(4):
        observe(net, policy, x * (1 + iteration), y)
    assert sorted({row["iteration"] for row in policy.history}) == [1, 3]
    assert CPNG(net).start == 0


def test_layers_without_a_spread_of_potentials_keep_their_windows():
    neuron = LIF(1)
    policy = CPNG(neuron, **NOW)
    assert not policy.step()
    feed(neuron, 0.7, 0.0)  # 0.7 - 1 is no float: their mean square is their squared mean only nearly
    assert not policy.step()
    feed(neuron, 0.5, 1.0)
    policy.observers[""].table[2] = math.inf
    assert not policy.step()
    assert neuron.window.tolist() == [1.0]
    assert policy.kept == {"no gradient": 1, "all equal": 1, "not finite": 1}
    assert [row["kept"] for row in policy.history] == ["no gradient", "all equal", "not finite"]


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_continuing_from_a_state_equals_never_having_stopped(stop):
    options = {"every": 2, "start": 0, "low": 0.05}
    x, y = batch(4, size=8)
    whole, net = Net(TRIANGLE), Net(TRIANGLE)
    whole_policy, policy = CPNG(whole, **options), CPNG(net, **options)
    for iteration in range(5):
        if iteration == stop:
            saved = reload({"model": net.state_dict(), "policy": policy.state_dict()})
            net = Net(TRIANGLE, seed=9)
            policy = CPNG(net, **options)
            net.load_state_dict(saved["model"])
            policy.load_state_dict(saved["policy"])
        observe(whole, whole_policy, x * (1 + 0.1 * iteration), y)
        observe(net, policy, x * (1 + 0.1 * iteration), y)
    assert lists(net) == lists(whole)
    assert policy.history == whole_policy.history
    assert policy.shares == whole_policy.shares
    assert len(policy.shares) == 2


def test_a_state_of_another_share_is_refused():
    policy = CPNG(Net(TRIANGLE), share=0.3)
    with pytest.raises(InputError, match=r"not for 0\.4"):
        CPNG(Net(TRIANGLE), share=0.4).load_state_dict(policy.state_dict())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (LIF(2), {"share": 0.0}, "share must be a number above 0, not 0"),
        (LIF(2), {"share": 1.0}, "share must be above 0 and below 1, not 1.0"),
        (LIF(2), {"low": 2.0, "high": 1.0}, "low=2.0 and high=1.0"),
        (LIF(2), {"every": 0}, "every must be a whole number"),
        (
            nn.Sequential(LIF(2), IntegerLIF(2)),
            {},
            "layer '1': CPNG is for a2sg's neurons with one threshold",
        ),
        (SpikeSite(2), {}, "CPNG is for a2sg's neurons"),
        (nn.Linear(2, 2), {}, "no spiking neurons"),
    ],
)
def test_what_it_cannot_work_with_is_told(model, options, message):
    with pytest.raises(InputError, match=message):
        CPNG(copy.deepcopy(model), **options)
