"""`a2sg.adapt` on plain modules and our own, in the ways that published code writes networks."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import a2sg
from a2sg.adopt import SpikeSite, revert
from a2sg.adopt.find import HOSTS
from a2sg.adopt.swap import Begin
from a2sg.errors import InputError
from a2sg.surrogate import Boxcar, Dspike, Triangle
from lookalikes import (
    Attention,
    Looped,
    Masking,
    Residual,
    Sited,
    Stepped,
    Within,
    by_step,
    draw,
    gradients,
)
from networks import NOW

NETWORKS = [Residual, Attention, Masking]
T = 4
FIXED = {"spatial": False, "temporal": False}


class Rests(nn.Module):
    """A network of neurons that are called once a step, put to rest before every forward."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        for module in self.modules():
            if isinstance(module, Stepped):
                module.rest()
        return self.network(x)


def build(network, neuron, run=None, **options):
    torch.manual_seed(0)
    made = network(partial(neuron, **options)) if run is None else network(partial(neuron, **options), run)
    return made.double()


def told(kind, network=Residual):
    """How `adapt` is told about a kind of neuron in a network."""
    functions = {Looped: {Looped: "act"}, Stepped: {Stepped: "act"}}
    if kind is Within and network is not Residual:
        return {"example": draw(network, T)[0]}  # thresholds differ from layer to layer
    return {"functions": {Within: ("act", 1.0)} if kind is Within else functions.get(kind)}


class Halved(Within):
    """Fires at 0.5 inside its spike function, whatever threshold it is asked for."""

    def __init__(self, threshold=0.5, **options):
        super().__init__(threshold=0.5, **options)


def ours(network, **options):
    """The same network and weights of this package's LIF."""
    renamed = {"detach": "detach_reset"}
    return build(
        network, a2sg.LIF, steps=T, **{renamed.get(key, key): value for key, value in options.items()}
    )


def train(net, windows, network, iterations=3):
    """Gradients of some iterations; the windows move, the weights do not."""
    found = []
    for seed in range(iterations):
        x, y = draw(network, T, seed=seed)
        found.append(gradients(net, nn.functional.cross_entropy(net(x), y)))
        windows.step()
    return found


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", [Looped, Sited, Stepped])
@pytest.mark.parametrize(
    "options",
    [{}, {"detach": True}, {"reset": "hard"}, {"reset": "hard", "detach": True, "decay": 0.5}],
    ids=str,
)
def test_windows_and_gradients_are_those_of_our_own_lif(network, kind, options):
    """With `Residual` a conv net, with `Attention` and `Masking` thresholds of 0.5."""
    lif = ours(network, **options)
    expected_windows = a2sg.AdaptiveWindows(lif, **NOW)
    expected = train(lif, expected_windows, network)
    net = build(network, kind, by_step if kind is Stepped else None, **options)
    model = Rests(net) if kind is Stepped else net
    windows = a2sg.adapt(model, steps=T, **told(kind, network), **NOW)
    found = train(model, windows, network)
    for mine, theirs in zip(found, expected, strict=True):
        for gradient, wanted in zip(mine, theirs, strict=True):
            torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-11)
    rows = zip(windows.history, expected_windows.history, strict=True)
    moved = 0
    for row, wanted in rows:
        assert row["layer"].removeprefix("network.").removesuffix(".site") == wanted["layer"]
        assert row["window"] == wanted["window"]
        assert row["kept"] == wanted["kept"]
        assert (row["sgv"] or 0) == pytest.approx(wanted["sgv"] or 0, rel=1e-6)
        moved += row["window"] != row["window_before"]
    assert moved > 10


def test_a_threshold_within_the_spike_function():
    net, lif = build(Masking, Halved), build(Masking, Sited, decay=0.9)
    for module in lif.modules():
        if isinstance(module, Sited):
            module.threshold = 0.5
    windows = a2sg.adapt(net, steps=T, functions={Halved: ("act", 0.5)}, **NOW)
    expected = a2sg.adapt(lif, steps=T, **NOW)
    for mine, theirs in zip(train(net, windows, Masking), train(lif, expected, Masking), strict=True):
        for gradient, wanted in zip(mine, theirs, strict=True):
            torch.testing.assert_close(gradient, wanted)
    assert [row["window"] for row in windows.history] == [row["window"] for row in expected.history]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", [Looped, Within])
@pytest.mark.parametrize("training", [True, False])
def test_forward_state_and_modules_stay_the_same(network, kind, training):
    net, twin = build(network, kind), build(network, kind)
    before = dict(net.named_modules())
    windows = a2sg.adapt(net, steps=T, **told(kind, network), **NOW)
    for model in (net, twin):
        model.train(training)
    for seed in range(2):
        x, y = draw(network, T, seed=seed)
        out = net(x)
        assert torch.equal(out, twin(x))
        with torch.no_grad():
            assert torch.equal(net(x), twin(x))
        nn.functional.cross_entropy(out, y).backward()
        windows.step()
    after = dict(net.named_modules())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    state, wanted = net.state_dict(), twin.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert state._metadata == wanted._metadata


@pytest.mark.parametrize("kind", [Looped, Within, Stepped])
def test_a_fixed_window_gives_the_gradient_of_the_same_shape(kind):
    """The plain spike function is a triangle of area 1."""
    run = by_step if kind is Stepped else None
    nets = [build(Residual, kind, run) for _ in range(2)]
    models = [Rests(net) if kind is Stepped else net for net in nets]
    windows = a2sg.adapt(
        models[0],
        steps=T,
        surrogate=Triangle(area="unit"),
        **told(kind),
        **NOW,
        **FIXED,
    )
    for seed in range(2):
        x, y = draw(Residual, T, seed=seed)
        found, expected = (gradients(model, nn.functional.cross_entropy(model(x), y)) for model in models)
        windows.step()
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [Looped, Within, Sited, a2sg.LIF])
def test_observing_changes_no_gradient(kind):
    options = {"steps": T} if kind is a2sg.LIF else {}
    nets = [build(Attention, kind, **options) for _ in range(2)]
    a2sg.adapt(nets[0], steps=T, **told(kind, Attention), **NOW)
    a2sg.adapt(nets[1], steps=T, **told(kind, Attention))
    x, y = draw(Attention, T)
    found, expected = (gradients(net, nn.functional.cross_entropy(net(x), y)) for net in nets)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [Looped, Within, Stepped])
def test_revert_gives_back_the_very_model(kind):
    run = by_step if kind is Stepped else None
    net, twin = build(Residual, kind, run), build(Residual, kind, run)
    model, other = (Rests(net), Rests(twin)) if kind is Stepped else (net, twin)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    windows = a2sg.adapt(model, steps=T, **told(kind), **NOW)
    train(model, windows, Residual, iterations=1)
    for module in model.modules():
        if isinstance(module, Stepped):
            module.rest()
    assert windows.revert() is model
    for name, module in model.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert all(vars(module)[key] is value for key, value in before[name].items() if key != "v")
        assert not module._forward_pre_hooks
    x, y = draw(Residual, T, seed=5)
    found, expected = (gradients(m, nn.functional.cross_entropy(m(x), y)) for m in (model, other))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
    windows.step()  # is harmless
    again = a2sg.adapt(model, steps=T, **told(kind), **NOW)
    train(model, again, Residual, iterations=1)
    assert len(again.history) == 3 * T


def test_our_own_neurons_get_their_windows_and_surrogates_back():
    net = build(Residual, a2sg.LIF, steps=T, surrogate=Boxcar(), window=0.5)
    state = copy.deepcopy(net.state_dict())
    windows = a2sg.adapt(net, steps=T, surrogate=Triangle(), window=0.7, **NOW)
    assert all(neuron.surrogate == Triangle() for neuron in net.neurons)
    assert all(torch.equal(neuron.window, torch.full((T,), 0.7).double()) for neuron in net.neurons)
    train(net, windows, Residual, iterations=1)
    assert any(row["window"] != row["window_before"] for row in windows.history)
    windows.revert()
    assert all(neuron.surrogate == Boxcar() for neuron in net.neurons)
    assert all(neuron.observer is None for neuron in net.neurons)
    assert all(
        torch.equal(value, state[name]) for name, value in net.state_dict().items() if "neurons" in name
    )


def test_our_own_neurons_keep_what_they_have_unless_told():
    net = build(Residual, a2sg.LIF, steps=T, surrogate=Boxcar(), window=0.5)
    windows = a2sg.adapt(net, steps=T, gradient="full", **NOW)
    assert all(neuron.surrogate == Boxcar() for neuron in net.neurons)
    train(net, windows, Residual, iterations=1)
    assert {row["window_before"] for row in windows.history} == {0.5}


def test_kinds_may_be_mixed():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 8), a2sg.LIF(T), nn.Linear(8, 7), Looped(), nn.Linear(7, 6), Sited(T))
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, **NOW)
    assert list(windows.sites) == ["1", "3", "5.site"]
    net(torch.randn(T, 3, 9)).sum().backward()
    windows.step()
    assert len(windows.history) == 3 * T


@pytest.mark.parametrize("kind", [Looped, Within, Sited])
def test_copies_and_pickles_go_on_alone(kind):
    net = build(Attention, kind)
    options = told(kind, Attention)
    windows = a2sg.adapt(net, steps=T, **options, **NOW)
    train(net, windows, Attention, iterations=1)
    x, y = draw(Attention, T, seed=9)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    copies = [
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(file, weights_only=False),
    ]
    windows.every = 10**9  # the copies are not observed either
    windows.step()
    expected = gradients(net, nn.functional.cross_entropy(net(x), y))
    for twin in copies:
        found = gradients(twin, nn.functional.cross_entropy(twin(x), y))
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
        for module, _, swap in a2sg.adopt.swap.swaps(twin):
            for name, site in swap.sites(module).items():
                assert site is not windows.sites[name]
                assert site.observer is None
                site.window.fill_(0.123)
        revert(twin)
        assert not list(a2sg.adopt.swap.swaps(twin))
        again = a2sg.adapt(twin, steps=T, **options, **NOW)
        train(twin, again, Attention, iterations=1)
    assert 0.123 not in {round(value, 3) for site in windows.sites.values() for value in site.window.tolist()}


def test_a_model_and_its_windows_are_copied_together():
    net = build(Attention, Looped)
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, **NOW)
    train(net, windows, Attention, iterations=1)
    twin, again = copy.deepcopy((net, windows))
    for model, watching in ((net, windows), (twin, again)):
        train(model, watching, Attention, iterations=2)
    assert again.model is twin
    assert windows.history == again.history
    assert len(again.history) == 3 * 5 * T
    assert again.revert() is twin
    assert list(a2sg.adopt.swap.swaps(net))


def test_training_goes_on_from_a_saved_state():
    def fresh():
        net = build(Attention, Looped)
        return net, a2sg.adapt(net, steps=T, functions={Looped: "act"}, every=2)

    net, windows = fresh()
    train(net, windows, Attention, iterations=4)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "windows": windows.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, continued = fresh()
    again.load_state_dict(saved["net"])
    continued.load_state_dict(saved["windows"])
    assert continued.iteration == 4
    for model, watching in ((net, windows), (again, continued)):
        train(model, watching, Attention, iterations=3)
    assert windows.history == continued.history
    for name, site in windows.sites.items():
        assert torch.equal(site.window, continued.sites[name].window)
    del saved["windows"]["in_use"]
    with pytest.raises(InputError, match="lack in_use"):
        continued.load_state_dict(saved["windows"])


def test_a_model_adapted_for_another_t_takes_its_windows_in_order(caplog):
    net = build(Attention, Looped)
    windows = a2sg.adapt(net, steps=2, functions={Looped: "act"}, **NOW)
    x, y = draw(Attention, 2)
    nn.functional.cross_entropy(net(x), y).backward()
    windows.step()
    again = build(Attention, Looped)
    again.load_state_dict(net.state_dict())
    continued = a2sg.adapt(again, steps=T, functions={Looped: "act"}, **NOW)
    continued.load_state_dict(windows.state_dict())
    assert len([message for message in caplog.messages if "taken in order" in message]) == 1
    assert len({site.window[-1].item() for site in windows.sites.values()}) > 1
    for name, site in continued.sites.items():
        assert torch.equal(site.window, windows.sites[name].window[[0, 1, 1, 1]])
    assert continued.history == windows.history
    train(again, continued, Attention, iterations=2)
    assert {row["iteration"] for row in continued.history} == {0, 1, 2}


def test_windows_follow_the_model_to_another_device():
    net = nn.Sequential(nn.Linear(3, 3), Looped())
    windows = a2sg.adapt(net, steps=2, surrogate=Dspike(), functions={Looped: "act"})
    net.to("meta")(torch.ones(2, 5, 3, device="meta")).sum().backward()
    assert windows.sites["1"].window.device.type == "meta"
    assert net[0].weight.grad.device.type == "meta"
    again = a2sg.adapt(nn.Sequential(nn.Linear(3, 3), Sited(2)).to("meta"), steps=2)
    assert again.sites["1.site"].window.device.type == "meta"


def test_half_the_precision_and_autocast():
    net = build(Attention, Looped).float()
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, **NOW)
    x, y = draw(Attention, T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(net(x.float()), y)
    loss.backward()
    windows.step()
    assert all(site.window.dtype == torch.float32 for site in windows.sites.values())
    assert windows.kept.keys() <= {"all zero"}
    assert len(windows.history) == 5 * T


def test_training_with_it_learns():
    net = build(Attention, Looped)
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, every=5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    x, y = draw(Attention, T, size=12)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        windows.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert {row["iteration"] for row in windows.history} == {5, 10, 15, 20, 25}


def test_frozen_windows_stay():
    net = build(Attention, Looped)
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, **NOW)
    train(net, windows, Attention, iterations=1)
    before = {name: site.window.clone() for name, site in windows.sites.items()}
    windows.detach()
    train(net, windows, Attention, iterations=2)
    assert all(torch.equal(site.window, before[name]) for name, site in windows.sites.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found no spiking neurons"),
        ({"functions": {Looped: "fire"}}, "layer '1': Looped has no spike function 'fire'"),
        ({"functions": {Looped: "decay"}}, "layer '1': Looped has no spike function 'decay'"),
        ({"functions": {Within: "act"}}, "functions names Within, but the model has no such module"),
        ({"functions": {Looped: ("act", float("nan"))}}, "not <class 'lookalikes.Looped'>: ('act', nan)"),
        (
            {"functions": {Looped: ("act",)}},
            "such as {YourModule: 'act'} or {YourModule: ('act', 0.5)}, with",
        ),
        ({"functions": {"Looped": "act"}}, "functions maps a class of modules to the name of an attribute"),
        ({"functions": [Looped]}, "functions maps a class of modules to the name of an attribute"),
        ({"functions": {Looped: "act"}, "steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"functions": {Looped: "act"}, "steps": "4"}, "steps must be a whole number of at least 1, not '4'"),
        ({"functions": {Looped: "act"}, "window": 0.0}, "window must be above 0, not 0"),
        ({"functions": {Looped: "act"}, "window": [1.0] * 3}, "one for each of the 4 steps"),
        ({"functions": {Looped: "act"}, "surrogate": "boxcar"}, "surrogate must be a shape"),
        ({"functions": {Looped: "act"}, "gradient": "full"}, "layer '1': gradient='full' needs dL/du"),
        ({"functions": {Looped: "act"}, "every": 0}, "every must be a whole number"),
        ({"functions": {Looped: "act"}, "low": 2.0}, "low must be below high"),
        ({"functions": {Looped: "act"}, "search": "brute"}, "unknown search 'brute'"),
    ],
)
def test_what_was_wrong_is_told_and_nothing_is_changed(options, message):
    net = nn.Sequential(nn.Linear(9, 8), Looped())
    before = [dict(vars(module)) for module in net.modules()]
    with pytest.raises(InputError) as error:
        a2sg.adapt(net, **{"steps": 4, **options})
    assert message in str(error.value)
    assert before == [dict(vars(module)) for module in net.modules()]


def test_more_that_cannot_work():
    with pytest.raises(InputError, match="must be a torch module, not list"):
        a2sg.adapt([Looped()], steps=4)
    with pytest.raises(InputError, match="layer '0': LIF has steps=3, but steps=4"):
        a2sg.adapt(nn.Sequential(a2sg.LIF(3)), steps=4)
    net = nn.Sequential(Looped())
    a2sg.adapt(net, steps=4, functions={Looped: "act"})
    with pytest.raises(InputError, match="layer '0' is already adapted"):
        a2sg.adapt(net, steps=4, functions={Looped: "act"})


def test_public_names():
    assert a2sg.adopt.spike is a2sg.spike
    assert a2sg.adopt.adapt is a2sg.adapt
    assert isinstance(a2sg.adapt(nn.Sequential(Sited(2)), steps=2), a2sg.AdaptiveWindows)


@pytest.mark.parametrize("advance", [True, False])
def test_a_neuron_whose_state_tells_is_counted_where_there_are_gradients(advance):
    """Three sequences of T calls; before each of them an evaluation of another length."""
    site, calls = SpikeSite(T), []
    hook = Begin(site, lambda module, args, kwargs: args[0] == 0, advance)
    for _ in range(3):
        with torch.no_grad():
            for step in range(T + 3):
                hook(nn.Identity(), (step,), {})
        assert site.count.done in (0, T if advance else 0)
        for step in range(T):
            hook(nn.Identity(), (step,), {})
            calls.append(site.count.done)
    assert calls == 3 * (list(range(1, T + 1)) if advance else [0] * T)
    site.count.done, site.count.live = 2, True  # in the middle of a sequence of training
    with torch.no_grad():
        hook(nn.Identity(), (0,), {})
    with pytest.raises(InputError, match="saw 2 steps of a sequence, but steps=4"):
        hook(nn.Identity(), (0,), {})


class AllAtOnce(nn.Module):
    """A neuron of a host library that fires all steps in one call."""


AllAtOnce.__module__ = "spikingjelly.activation_based.neuron"


def test_a_model_whose_neurons_cannot_be_adapted_says_why(monkeypatch):
    monkeypatch.setitem(HOSTS, "spikingjelly", lambda module, site: "it fires all steps in one call")
    with pytest.raises(
        InputError, match=r"can be adapted \(layer '1': it fires all steps in one call\): use"
    ):
        a2sg.adapt(nn.Sequential(nn.Linear(3, 3), AllAtOnce()), steps=T)
    with pytest.raises(InputError, match=r"\(the model: it fires all steps in one call\)"):
        a2sg.adapt(AllAtOnce(), steps=T)


def test_a_module_put_in_place_of_a_spike_function_is_named():
    net = nn.Sequential(nn.Linear(9, 8), Looped())
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"}, **NOW)
    net[1].act = nn.Sigmoid()
    with pytest.raises(InputError, match=r"layer '1': act was changed to Sigmoid\(\) while it was adapted"):
        windows.step()
