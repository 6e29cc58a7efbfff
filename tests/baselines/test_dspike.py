"""Dspike's search: cosines and choice against a float64 computation of its own."""

import pytest
import torch
from torch import nn

import reference
from a2sg import LIF, AdaptiveWindows, InputError, SpikeSite
from a2sg.baselines import DspikeSearch
from a2sg.surrogate import Boxcar, Dspike
from networks import NOW, Net, Plan, batch
from saved import reload

PLAN = Plan(shape="dspike", window=0.5)


def plain_loss(net, x, y, temperature, first):
    """The loss of a Net by the neuron of reference.py, with `first` as the first layer's weights."""
    formula = lambda distance, window: reference.dspike(distance, window, temperature)  # noqa: E731
    neuron, value = reference.Neuron(formula), x
    windows = torch.full((4,), 0.5, dtype=torch.float64)
    for linear, weight in zip(net.linears, (first, net.linears[1].weight), strict=True):
        value = reference.run(neuron, nn.functional.linear(value, weight, linear.bias), windows).spikes
    return nn.functional.cross_entropy(net.out(value).mean(0), y, reduction="sum")


def plain_cosines(net, x, y, epsilon, temperatures):
    weight = net.linears[0].weight.detach().clone()
    differences = torch.zeros_like(weight)
    for row in range(weight.shape[0]):
        for column in range(weight.shape[1]):
            ends = []
            for sign in (1, -1):
                moved = weight.clone()
                moved[row, column] += sign * epsilon
                ends.append(plain_loss(net, x, y, 1.0, moved).item())
            differences[row, column] = (ends[0] - ends[1]) / (2 * epsilon)
    found = {}
    for temperature in temperatures:
        leaf = weight.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(plain_loss(net, x, y, temperature, leaf), leaf)
        found[temperature] = nn.functional.cosine_similarity(
            gradient.flatten(), differences.flatten(), dim=0
        ).item()
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_the_choice_is_that_of_a_float64_computation(seed, epsilon):
    net = Net(PLAN, seed=seed)
    x, y = batch(4, size=20, seed=seed)
    search = DspikeSearch(net, **NOW, epsilon=epsilon, change=1.0)
    wanted = plain_cosines(net, x, y, epsilon, (3.0, 2.0, 4.0))
    assert search.step(lambda: net.loss(x, y))
    best = max(wanted, key=wanted.get)
    assert search.temperature == best
    assert all(neuron.surrogate == Dspike(temperature=best) for neuron in net.neurons)
    assert len(search.history) == 2 * 4
    for row in search.history:
        assert tuple(row) == search.columns
        assert row["cosine"] == pytest.approx(wanted[best], abs=1e-9)
        assert row["cosine_before"] == pytest.approx(wanted[3.0], abs=1e-9)
        assert (row["temperature"], row["temperature_before"], row["window"]) == (best, 3.0, 0.5)


def test_not_every_seed_chooses_the_same():
    """Else the test above could not tell a search from a constant."""
    chosen = set()
    for seed in range(4):
        net = Net(PLAN, seed=seed)
        x, y = batch(4, size=20, seed=seed)
        search = DspikeSearch(net, **NOW, change=1.0)
        search.step(lambda net=net, x=x, y=y: net.loss(x, y))
        chosen.add(search.temperature)
    assert len(chosen) > 1


def normed():
    """Batch norm and dropout: statistics and random numbers that a forward pass changes."""
    torch.manual_seed(0)
    surrogate = Dspike(temperature=3.0)
    return nn.Sequential(
        nn.Linear(9, 8),
        nn.BatchNorm1d(8),
        nn.Unflatten(0, (4, 6)),
        LIF(4, surrogate=surrogate, window=0.5),
        nn.Dropout(0.5),
        nn.Linear(8, 4),
    )


def test_nothing_but_the_temperature_is_changed():
    model = normed()
    x, y = batch(4)
    x = x.float().flatten(0, 1)

    def loss():
        return nn.functional.cross_entropy(model(x).mean(0), y)

    loss().backward()
    search = DspikeSearch(model, **NOW)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    random = torch.get_rng_state()
    search.step(loss)
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert search.history[0]["cosine"] is not None


def test_spikes_do_not_depend_on_the_temperature():
    net = Net(PLAN)
    x, y = batch(4, size=20)
    before = net(x)
    search = DspikeSearch(net, **NOW, change=1.0)
    for _ in range(3):
        search.step(lambda: net.loss(x, y))
    assert search.temperature != 3.0
    assert torch.equal(net(x), before)


def test_every_weight_costs_two_evaluations_and_every_temperature_one():
    for weights, moved in ((None, 99), (5, 5), (200, 99)):
        net, calls = Net(PLAN), []
        x, y = batch(4)

        def loss(net=net, calls=calls, x=x, y=y):
            calls.append(None)
            return net.loss(x, y)

        search = DspikeSearch(net, every=2, weights=weights)
        search.step(loss)
        search.step(loss)
        assert len(calls) == 2 * moved + 3
    first = search._places()
    search.weights = 5
    drawn = search._places()
    assert len(set(drawn)) == 5
    assert set(drawn) < set(first)
    search.iteration += 1
    assert search._places() != drawn


def test_without_a_gradient_the_temperature_is_kept():
    net = Net(PLAN)
    x, y = batch(4)
    search = DspikeSearch(net, **NOW)
    assert not search.step(lambda: 0 * net.loss(x, y))
    assert not search.step(lambda: float("nan") * net.loss(x, y))
    assert search.temperature == 3.0
    assert search.kept == {"all zero": 1, "not finite": 1}
    assert {row["cosine"] for row in search.history} == {None}


@pytest.mark.parametrize(("change", "candidates"), [(0.9, 3), (1.0, 2), (1.5, 2)])
def test_temperatures_not_above_zero_are_left_out(change, candidates):
    net, calls = Net(PLAN), []
    x, y = batch(4)
    for neuron in net.neurons:
        neuron.surrogate = Dspike(temperature=1.0)

    def loss():
        calls.append(None)
        return net.loss(x, y)

    search = DspikeSearch(net, **NOW, change=change, weights=3)
    search.step(loss)
    assert len(calls) == 2 * 3 + candidates
    assert search.temperature > 0


@pytest.mark.parametrize("stop", [1, 2])
def test_continuing_from_a_state_equals_never_having_stopped(stop):
    options = {"every": 1, "change": 0.3, "weights": 12}

    def iterate(net, search, iteration):
        x, y = batch(4, size=10, seed=iteration)
        search.step(lambda: net.loss(x, y))

    whole, net = Net(PLAN), Net(PLAN)
    whole_search, search = DspikeSearch(whole, **options), DspikeSearch(net, **options)
    for iteration in range(4):
        if iteration == stop:
            saved = reload({"model": net.state_dict(), "search": search.state_dict()})
            net = Net(PLAN, seed=9)
            search = DspikeSearch(net, **options)
            net.load_state_dict(saved["model"])
            search.load_state_dict(saved["search"])
        iterate(whole, whole_search, iteration)
        iterate(net, search, iteration)
    assert search.history == whole_search.history
    assert net.neurons[0].surrogate == whole.neurons[0].surrogate
    assert search.temperature == whole_search.temperature


def test_a_state_of_another_beginning_is_refused():
    net = Net(PLAN)
    state = DspikeSearch(net).state_dict()
    for neuron in net.neurons:
        neuron.surrogate = Dspike(temperature=5.0)
    with pytest.raises(InputError, match="began at 3, not at 5"):
        DspikeSearch(net).load_state_dict(state)
    with pytest.raises(InputError, match="lack first, moves"):
        DspikeSearch(net).load_state_dict(AdaptiveWindows(net).state_dict())


def test_it_asks_for_the_loss_where_it_needs_it():
    search = DspikeSearch(Net(PLAN), every=2, start=1)
    assert not search.step()
    with pytest.raises(InputError, match=r"call step\(lambda: criterion\(model\(x\), y\)\)"):
        search.step()


def layers(*surrogates):
    return nn.Sequential(nn.Linear(2, 2), *(LIF(2, surrogate=surrogate) for surrogate in surrogates))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (layers(Dspike(), Boxcar()), {}, "layer '2'.*surrogate Dspike, not Boxcar"),
        (nn.Sequential(nn.Linear(2, 2), SpikeSite(2)), {}, "layer '1'.*surrogate Dspike"),
        (layers(Dspike(), Dspike(temperature=5.0)), {}, r"the same temperature, not \[3\.0, 5\.0\]"),
        (LIF(2, surrogate=Dspike()), {}, "found no weights"),
        (layers(Dspike()), {"epsilon": 0.0}, "epsilon must be a number above 0, not 0"),
        (layers(Dspike()), {"change": -1.0}, "change must be a number above 0, not -1"),
        (layers(Dspike()), {"weights": 0}, "weights must be a whole number of at least 1, not 0"),
    ],
)
def test_what_it_cannot_work_with_is_told(model, options, message):
    with pytest.raises(InputError, match=message):
        DspikeSearch(model, **options)
