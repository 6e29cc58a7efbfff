"""`a2sg.adapt(model, steps, example=batch)` on spike functions as published repositories call them."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import a2sg
import published
import reference
from a2sg.adopt import revert
from a2sg.adopt.swap import swaps
from a2sg.errors import InputError
from networks import NOW, candidates
from published import T
from reference import BY_NAME
from styles import STYLES

FORMULA = BY_NAME["asymmetric"].formula
every_style = pytest.mark.parametrize("style", STYLES, ids=str)


def gradients(net):
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def adapted(style, **options):
    net = style.build()
    return net, a2sg.adapt(net, steps=style.steps, example=style.example(), **options)


def by_hand(style, monkeypatch, seeds):
    """Windows and gradients of some iterations, each observed, by looking on in the host's backward pass."""
    net = style.build()
    neuron = reference.Neuron(FORMULA, threshold=1.0)
    windows = torch.ones(len(style.layers), style.steps, dtype=torch.float64)
    found = []
    backwards = [style.order[t : t + 2] for t in range(0, 2 * T, 2)] if style.online else [style.order]
    place = [at for order in backwards for at in reversed(order)]
    for seed in seeds:
        seen = []

        def through(u, thresholds, grad, seen=seen, windows=windows):
            seen.append((u.detach(), grad.detach()))
            window = windows[place[len(seen) - 1]]
            return grad * sum(FORMULA(u - threshold, window) for threshold in thresholds)

        monkeypatch.setattr(published, "through", through)
        style.train(net, seed)
        gradient = gradients(net)
        best = windows.clone()
        shown = dict(zip(place, seen, strict=True))
        for layer in range(len(style.layers)):
            later = None
            for t in reversed(range(style.steps)):
                u, up = shown[layer, t]
                one = Several(neuron, u, up, torch.zeros_like(u), later, style.thresholds)
                best[layer, t] = one.best(candidates()) or windows[layer, t]
                later = one.delta(windows[layer, t].item())
        windows = best
        found.append((gradient, windows))
    monkeypatch.undo()
    return found


class Several(reference.Step):
    """A step of a function that fires at some thresholds."""

    def __init__(self, neuron, u, up, carry, later, thresholds):
        super().__init__(neuron, u, up, carry, later)
        object.__setattr__(self, "thresholds", thresholds)

    def delta(self, window):
        b = torch.tensor(window, dtype=torch.float64)
        return self.up * sum(FORMULA(self.u - threshold, b) for threshold in self.thresholds)


@every_style
def test_windows_and_gradients_are_those_computed_by_hand(style, monkeypatch):
    expected = by_hand(style, monkeypatch, range(3))
    net, windows = adapted(style, **NOW)
    assert list(windows.sites) == style.layers
    for seed, (gradient, window) in enumerate(expected):
        style.train(net, seed)
        for mine, theirs in zip(gradients(net), gradient, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
        windows.step()
        assert [site.window.tolist() for site in windows.sites.values()] == window.tolist()
    assert len({row["window"] for row in windows.history}) > 2


@every_style
def test_the_forward_pass_and_the_model_stay_the_same(style):
    net, twin = style.build(), style.build()
    before = {name: dict(vars(module)) for name, module in net.named_modules()}
    random_state = torch.get_rng_state()
    windows = a2sg.adapt(net, steps=style.steps, example=style.example(), **NOW)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    for seed in range(2):
        assert torch.equal(style.train(net, seed), style.train(twin, seed))
        windows.step()
    twin.load_state_dict(net.state_dict())
    net.load_state_dict(style.build().state_dict())  # a published checkpoint, strictly
    net.load_state_dict(twin.state_dict())
    windows.revert()
    for name, module in net.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert not module._forward_pre_hooks
    style.train(net, 5), style.train(twin, 5)
    for mine, theirs in zip(gradients(net), gradients(twin), strict=True):
        assert torch.equal(mine, theirs)


def check(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


BY_TURNS = [style for style in STYLES if style.layers[0] != "fires.0"]


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_training_goes_on_from_a_saved_state_to_the_bit(style):
    net, windows = adapted(style, every=2)
    for seed in range(3):
        style.train(net, seed)
        windows.step()
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "windows": windows.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, continued = adapted(style, every=2)
    again.load_state_dict(saved["net"])
    continued.load_state_dict(saved["windows"])
    for seed in range(3, 6):
        for model, watching in ((net, windows), (again, continued)):
            style.train(model, seed)
            watching.step()
        assert all(torch.equal(*pair) for pair in zip(gradients(net), gradients(again), strict=True))
    assert windows.history == continued.history


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("style", [STYLES[0], STYLES[1], *BY_TURNS], ids=str)
def test_copies_go_on_alone(style, again):
    net, windows = adapted(style, **NOW)
    style.train(net)
    windows.step()
    windows.detach()
    twin = again(net)
    for model in (net, twin):
        style.train(model, 1)
    assert all(torch.equal(*pair) for pair in zip(gradients(net), gradients(twin), strict=True))
    for name, _, swap in swaps(twin):
        for layer, site in swap.sites(name).items():
            assert site is not windows.sites[layer]
            site.window.fill_(0.123)
    assert torch.equal(style.train(revert(twin)), style.train(style.build()))
    assert 0.123 not in {round(value, 3) for site in windows.sites.values() for value in site.window.tolist()}


@pytest.mark.parametrize("style", [STYLES[0], STYLES[1], BY_TURNS[0], BY_TURNS[2]], ids=str)
def test_compiled(style):
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        net, windows = adapted(style, every=2)
        run = torch.compile(net, backend="aot_eager") if compiled else net
        results = []
        for seed in range(4):
            style.train(run, seed)
            results += gradients(net)
            windows.step()
        found.append((results, [row["window"] for row in windows.history]))
    check(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_transforms_that_hide_the_functions_are_refused():
    net, _ = adapted(STYLES[0])
    with pytest.raises(InputError, match=r"torch\.func hides the spike functions"):
        torch.func.grad(lambda x: net(x).sum())(STYLES[0].example())


@every_style
def test_frozen_layers_neither_count_nor_hinder(style):
    net, windows = adapted(style, **NOW)
    for parameter in next(net.children()).parameters():
        parameter.requires_grad_(False)
    for seed in range(2):
        style.train(net, seed)
        windows.step()
    kept = {row["layer"]: row["kept"] for row in windows.history}
    assert kept[style.layers[-1]] == ""


@pytest.mark.parametrize("style", BY_TURNS, ids=str)
def test_a_loop_around_parts_of_the_model(style):
    """The example is a function, and the model's own forward is not called."""
    net = style.build()
    holder = nn.ModuleList([net])
    x, _ = style.draw()
    windows = a2sg.adapt(holder, steps=T, example=lambda: net(x), **NOW)
    expected = adapted(style, **NOW)
    for seed in range(2):
        style.train(net, seed)
        style.train(expected[0], seed)
        windows.step()
        expected[1].step()
    assert [row["window"] for row in windows.history] == [row["window"] for row in expected[1].history]
    assert [name.removeprefix("0.") for name in windows.sites] == style.layers


def test_a_loop_over_steps_as_the_example():
    """One step of a forward, of a network whose one module serves two layers."""

    class Step(published.SharedNeuron):
        def forward(self, x, mems=(0.0, 0.0)):
            s1, m1 = self.fire(self.first(x), mems[0])
            s2, m2 = self.fire(self.second(s1), mems[1])
            return self.head(s2), (m1, m2)

    def loop(net, x):
        mems, outs = (0.0, 0.0), []
        for frame in x:
            out, mems = net(frame, mems)
            outs.append(out)
        return torch.stack(outs).mean(0)

    style = next(style for style in STYLES if style.name == "shared-neuron")
    whole, expected = adapted(style, **NOW)
    x, labels = style.draw()
    style.train(whole)
    expected.step()
    for as_loop in (True, False):
        net = Step().double()
        net.load_state_dict(style.build().state_dict())
        example = partial(loop, net, style.example()) if as_loop else style.example()[0]
        windows = a2sg.adapt(net, steps=T, example=example, **NOW)
        assert list(windows.sites) == style.layers
        nn.functional.cross_entropy(loop(net, x), labels).backward()
        windows.step()
        check(gradients(net), gradients(whole))
        assert [row["window"] for row in windows.history] == [row["window"] for row in expected.history]


@pytest.mark.parametrize("style", [STYLES[0], *BY_TURNS], ids=str)
def test_an_inspection_has_the_numbers_of_the_search(style):
    net, windows = adapted(style, **NOW)
    x, labels = style.draw()
    found = a2sg.inspect(
        net, (x, labels), lambda out, y: nn.functional.cross_entropy(out, y, reduction="sum")
    )
    assert list(found.layers) == style.layers
    nn.functional.cross_entropy(net(x), labels, reduction="sum").backward()
    windows.step()
    rows = iter(windows.history)
    for layer in found.layers.values():
        for step in layer.steps:
            assert step.own.sgv == pytest.approx(next(rows)["sgv_before"])
