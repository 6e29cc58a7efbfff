"""What `AdaptiveWindows` can do beyond the paper, against trying every candidate by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import a2sg
import reference
from a2sg import AdaptiveWindows
from a2sg.errors import InputError
from a2sg.kernels.sums import sums_of
from a2sg.surrogate import Asymmetric
from a2sg.window.objectives import sgv_from_sums, std_from_sums
from networks import NOW, Net, Plan, Replica, batch, best_of, candidates, lists, observe
from saved import reload


def variation(delta, spread="sgv"):
    variance = delta.var(correction=0)
    return ((variance.sqrt() if spread == "std" else variance) / delta.abs().mean()).item()


def at_bias(step, bias):
    """A step as it would be with another h."""
    neuron = replace(step.neuron, formula=lambda x, b: (x / (2 * b) + bias) * reference.inside(x, b))
    return replace(step, neuron=neuron)


@given(
    values=st.lists(st.floats(-100, 100), min_size=2, max_size=20),
    scale=st.floats(1e-6, 1e6),
)
def test_std_is_free_of_scale_and_the_root_of_what_sgv_is(values, scale):
    delta = torch.tensor(values, dtype=torch.float64)
    found = std_from_sums(sums_of(delta)).item()
    if delta.abs().sum() == 0:
        assert found == 0
        return
    assert found == pytest.approx(variation(delta, "std"), rel=1e-5, abs=1e-6)
    assert std_from_sums(sums_of(scale * delta)).item() == pytest.approx(found, rel=1e-6, abs=1e-9)
    squared = sgv_from_sums(sums_of(delta)) / delta.abs().mean()
    assert found**2 == pytest.approx(squared.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("spatial_steps", ["last", "first", "all"])
@pytest.mark.parametrize("spread", ["sgv", "std"])
@pytest.mark.parametrize(
    "plan",
    [Plan(), Plan(steps=1), Plan(steps=3, shape="triangle-unit"), Plan(kind="plif"), Plan(kind="integer")],
    ids=str,
)
def test_spread_and_spatial_steps(plan, spread, spatial_steps):
    net = Net(plan)
    windows = AdaptiveWindows(net, **NOW, candidates=30, spatial=spread, spatial_steps=spatial_steps)
    x, y = batch(plan.steps)
    replica = Replica(net, x, y)
    before = lists(net)
    observe(net, windows, x, y)
    last = plan.steps - 1
    spatial = {"last": {last}, "first": {0}, "all": set(range(plan.steps))}[spatial_steps]
    for name, steps in replica.steps.items():
        for t, step in enumerate(steps):
            if t in spatial:
                tried = {w: -variation(step.delta(w), spread) for w in candidates(count=30)}
            elif t == last:
                assert lists(net)[name][t] == before[name][t], "nothing comes after the last step"
                continue
            else:
                tried = {w: reference.tgc(step.delta(w), step.later) for w in candidates(count=30)}
            known = {w: score for w, score in tried.items() if score == score}
            assert lists(net)[name][t] == best_of(known)
    assert all(row["kept"] == "" for row in windows.history)


@pytest.mark.parametrize("search", ["exact", "grid"])
@pytest.mark.parametrize("spread", ["sgv", "std"])
@pytest.mark.parametrize("plan", [Plan(), Plan(shape="asymmetric-0.8", steps=2), Plan(steps=1)], ids=str)
def test_bias_and_window_are_the_best_pair_at_the_last_step(plan, spread, search):
    net = Net(plan)
    windows = AdaptiveWindows(net, **NOW, candidates=12, spatial=spread, biases=3, search=search)
    x, y = batch(plan.steps)
    replica = Replica(net, x, y)
    observe(net, windows, x, y)
    for (name, steps), neuron in zip(replica.steps.items(), net.neurons, strict=True):
        pairs = {
            (bias, w): -variation(at_bias(steps[-1], bias).delta(w), spread)
            for bias in (0.5, 0.75, 1.0)
            for w in candidates(count=12)
        }
        bias, window = best_of(pairs)
        assert neuron.surrogate == Asymmetric(bias=bias)
        assert lists(net)[name][-1] == window
        assert {row["bias"] for row in windows.history if row["layer"] == name} == {bias}
        for t, step in enumerate(steps[:-1]):
            tried = {w: reference.tgc(at_bias(step, bias).delta(w), step.later) for w in candidates(count=12)}
            assert lists(net)[name][t] == best_of(tried)


def test_biases_reach_every_place_an_adapted_model_makes_spikes_at():
    site = a2sg.SpikeSite(2)
    windows = AdaptiveWindows(site, **NOW, candidates=5, spatial="std", biases=5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        x = torch.randn(64, generator=generator, dtype=torch.float64).requires_grad_()
        (a2sg.spike(x, site) + 0.7 * a2sg.spike(x, site)).sum().backward()
        windows.step()
    assert site.surrogate == Asymmetric(bias=1.0), "equal gradients vary least where the shape is flattest"
    x = torch.tensor([0.25], dtype=torch.float64, requires_grad=True)
    a2sg.spike(x, site).backward()
    assert x.grad.item() == pytest.approx(0.25 / (2 * site.window[0].item()) + 1)


def test_smoothing_moves_part_of_the_way():
    plain, smooth = Net(Plan()), Net(Plan())
    x, y = batch(4)
    observe(plain, AdaptiveWindows(plain, **NOW), x, y)
    windows = AdaptiveWindows(smooth, **NOW, smoothing=0.75)
    observe(smooth, windows, x, y)
    for name, found in lists(plain).items():
        expected = [0.75 * 1.0 + 0.25 * window for window in found]
        assert lists(smooth)[name] == pytest.approx(expected, abs=1e-6)
    assert [row["window"] for row in windows.history] == pytest.approx(
        [window for steps in lists(smooth).values() for window in steps]
    )


def test_a_layer_without_gradients_at_its_last_step_keeps_shape_and_windows():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, biases=3)
    before = lists(net)
    x, y = batch(4)
    observe(net, windows, x, y, scale=0.0)
    assert lists(net) == before
    assert all(neuron.surrogate == Asymmetric() for neuron in net.neurons)
    assert {row["kept"] for row in windows.history} == {"all zero"}


def test_windows_that_are_kept_stay_to_the_last_digit():
    net = Net(Plan())
    for neuron in net.neurons:
        neuron.window.fill_(0.3)  # float64, which float32 cannot hold
    windows = AdaptiveWindows(net, **NOW, temporal=False)
    observe(net, windows, *batch(4))
    assert all(steps[:-1] == [0.3] * 3 for steps in lists(net).values())


def test_continuing_from_a_state_restores_the_biases():
    options = {**NOW, "candidates": 8, "biases": 3, "spatial": "std", "smoothing": 0.5}
    whole = Net(Plan())
    whole_windows = AdaptiveWindows(whole, **options)
    observe(whole, whole_windows, *batch(4))
    found = [neuron.surrogate for neuron in whole.neurons]
    assert found != [Asymmetric(), Asymmetric()]
    saved = reload({"model": whole.state_dict(), "windows": whole_windows.state_dict()})
    net = Net(Plan(), seed=5)
    windows = AdaptiveWindows(net, **options)
    net.load_state_dict(saved["model"])
    windows.load_state_dict(saved["windows"])
    assert [neuron.surrogate for neuron in net.neurons] == found
    for one, its in ((whole, whole_windows), (net, windows)):
        observe(one, its, *batch(4, seed=3))
    assert lists(net) == lists(whole)
    assert windows.history == whole_windows.history


def test_a_state_of_a_search_without_biases_is_refused():
    net = Net(Plan())
    one, three = AdaptiveWindows(net, **NOW), AdaptiveWindows(net, **NOW, biases=3)
    for target, state in ((one, three.state_dict()), (three, one.state_dict())):
        with pytest.raises(InputError, match="belong to another"):
            target.load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial": "sgw"}, "unknown spatial 'sgw' .did you mean 'sgv'"),
        ({"temporal": "cosine"}, "unknown temporal 'cosine'"),
        ({"spatial": "tgc"}, "spatial must be an objective of one step"),
        ({"spatial_steps": "middle"}, "spatial_steps"),
        ({"biases": 0}, "biases must be a whole number of at least 1, not 0"),
        ({"biases": 2, "spatial": False}, "spatial must be on"),
        ({"smoothing": 1.0}, "smoothing must be below 1"),
        ({"smoothing": -0.1}, "smoothing must be between 0 and 1, not -0.1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        AdaptiveWindows(Net(Plan()), **options)


def test_biases_need_the_asymmetric_shape():
    with pytest.raises(InputError, match=r"layer 'neurons.0' has Triangle"):
        AdaptiveWindows(Net(Plan(shape="triangle")), biases=3)
