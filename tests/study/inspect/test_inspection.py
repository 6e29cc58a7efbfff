"""Numbers of `a2sg.inspect` against brute force in float64, and that it leaves everything as it was."""

import copy
import math
import random
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Observation
from a2sg.study.measure.diagnosis import SHAPES
from a2sg.study.measure.moments import gather, nearest, reach
from a2sg.surrogate import Asymmetric, Boxcar, PinnedAsymmetric, Triangle
from lookalikes import Attention, Looped, Residual, Stepped, Stepwise, draw
from networks import NOW, Net, Plan, Replica, batch
from reference import Neuron, inside, sgv, tgc

PLANS = [
    Plan(),
    Plan(reset="hard", shape="triangle", window=0.5),
    Plan("plif", shape="asymmetric-0.8-unit", order="scaled", threshold=0.7),
    Plan("if", shape="arctan", steps=1),
    Plan(shape="dspike", steps=3, detach=True, conv=True),
    Plan("integer", shape="boxcar", steps=2, window=0.5),
    Plan("integer", shape="asymmetric", steps=2, window=0.8),
]
HAND = {
    "boxcar": inside,
    "triangle": lambda x, b: (1 - x.abs() / b) * inside(x, b),
    **{
        f"asymmetric {h}": lambda x, b, h=h: (x / (2 * b) + h) * inside(x, b)
        for h in (0.5, 0.6, 0.7, 0.8, 0.9)
    },
}


def summed(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


def cv(values):
    return (values.std(correction=0) / values.mean().abs()).item()


def near(found, expected):
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module", params=PLANS, ids=str)
def case(request):
    """A network, what was found, and the same computed by loops."""
    plan = request.param
    net = Net(plan)
    x, y = batch(plan.steps)
    return net, a2sg.inspect(net, (x, y), summed), Replica(net, x, y)


def each_step(case):
    _, found, replica = case
    assert list(found.layers) == list(replica.steps), "in the order of the forward pass"
    for name, layer in found.layers.items():
        assert [step.step for step in layer.steps] == list(range(1, len(replica.steps[name]) + 1))
        yield from zip(layer.steps, replica.steps[name], strict=True)


def distance(step):
    """To the nearest threshold, the lower one if there are two."""
    every = torch.stack([step.u - threshold for threshold in step.neuron.thresholds])
    return every.gather(0, every.abs().argmin(0, keepdim=True))[0]


def test_shares_norms_and_rates(case):
    for found, step in each_step(case):
        delta = step.delta(found.window)
        spikes = sum((step.u >= threshold).double() for threshold in step.neuron.thresholds)
        near(found.inside, (distance(step).abs() <= found.window).double().mean().item())
        near(found.passing, (delta != 0).double().mean().item())
        near(found.arriving, (step.up != 0).double().mean().item())
        near(found.gradient_norm, delta.norm().item())
        near(found.upstream_norm, step.up.norm().item())
        near(found.firing_rate, spikes.mean().item())
        near(found.dead, (spikes.sum(0) == 0).double().mean().item())
        near(found.saturated, (spikes > 0).all(0).double().mean().item())


def test_layers_are_more_than_their_steps(case):
    _, found, replica = case
    first, last = found.layers.values()
    norms = []
    for layer in (first, last):
        steps = replica.steps[layer.name]
        spikes = torch.stack([step.u >= step.neuron.thresholds[0] for step in steps]).flatten(0, 1)
        near(layer.dead, (~spikes).all(0).double().mean().item())
        near(layer.saturated, spikes.all(0).double().mean().item())
        assert layer.neurons == spikes[0].numel()
        norms.append(
            torch.stack([step.delta(row.window) for row, step in zip(layer.steps, steps, strict=True)])
        )
    near(first.gain, (norms[0].norm() / norms[1].norm()).item())
    assert (first.next_layer, last.next_layer, last.gain) == (last.name, None, None)
    near(first.steps[0].gain, (norms[0][0].norm() / norms[1][0].norm()).item())


def test_variation_of_every_shape_at_the_window_in_use(case):
    net, _, _ = case
    gap = 1.0 if net.plan.kind == "integer" else math.inf
    for found, step in each_step(case):
        window = torch.tensor(found.window, dtype=torch.float64)
        own = step.neuron.derivative(step.u, window)
        check_variation(found.own, step.up * own, own, step.later)
        for name, shape in found.shapes.items():
            if found.window > gap / 2:
                assert (shape.sgv, shape.tgc, shape.cv, shape.surrogate_cv) == (None,) * 4
                continue
            value = sum(HAND[name](step.u - threshold, window) for threshold in step.neuron.thresholds)
            check_variation(shape, step.up * value, value, step.later)


def check_variation(found, delta, value, later):
    if (delta == 0).all():
        assert (found.sgv, found.tgc, found.cv) == (None, None, None)
        return
    near(found.sgv, sgv(delta))
    near(found.cv, cv(delta))
    near(found.surrogate_cv, cv(value))
    if later is None:
        assert found.tgc is None
    else:
        near(found.tgc, tgc(delta, later))


def test_scores_by_window_and_the_best_of_them(case):
    net, every, _ = case
    widest = 0.5 if net.plan.kind == "integer" else math.inf
    for found, step in each_step(case):
        windows = [window for window in every.windows if window <= widest]
        for window, score in zip(every.windows, found.own.by_window, strict=True):
            expected = step.score(window)
            if window > widest or expected is None:
                assert score is None
            else:
                near(score, -expected if step.later is None else expected)
        assert found.own.best_window == step.best(windows)
        triangle = Neuron(HAND["triangle"], threshold=step.neuron.threshold, levels=step.neuron.levels)
        twin = copy.copy(step)
        object.__setattr__(twin, "neuron", triangle)
        assert found.shapes["triangle"].best_window == twin.best(windows)


def test_potentials(case):
    for found, step in each_step(case):
        x = (step.u - step.neuron.thresholds[0]).flatten()
        centred, sigma = x - x.mean(), x.std(correction=0)
        u = found.potential
        near(u.mean, x.mean().item())
        near(u.deviation, sigma.item())
        near(u.skewness, (centred**3).mean().item() / sigma.item() ** 3)
        near(u.kurtosis, (centred**4).mean().item() / sigma.item() ** 4 - 3)
        assert u.gaussian == (abs(u.skewness) <= 0.5 and abs(u.kurtosis) <= 1)
        if len(step.neuron.thresholds) > 1:
            assert u.kappa is u.condition is None
            continue
        low = step.neuron.threshold - found.window
        near(u.kappa, low - step.u.mean().item())
        near(u.condition, 2 * found.window * u.kappa / u.deviation**2)


def test_histogram_and_what_windows_hold(case):
    _, every, _ = case
    edges = torch.tensor(every.edges, dtype=torch.float64)
    for found, step in each_step(case):
        x = distance(step).flatten()
        below = [((x < 0) & (x >= -b) & (x < -a)).sum().item() for a, b in pairwise([0.0, *every.edges])]
        above = [
            ((x >= 0) & (x <= b) & ((x > a) | (a == 0))).sum().item()
            for a, b in pairwise([0.0, *every.edges])
        ]
        beyond = [(x < -edges[-1]).sum().item(), (x > edges[-1]).sum().item()]
        assert found.histogram == [beyond[0], *reversed(below), *above, beyond[1]]
        near(found.held, [(x.abs() <= window).double().mean().item() for window in every.windows])


@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.05, 1.0, 7.0]), st.booleans())
def test_moments_are_sums_one_by_one(seed, window, temporal):
    generator = torch.Generator().manual_seed(seed)
    u, g, r = (torch.randn(200, generator=generator, dtype=torch.float64) for _ in range(3))
    u = (u * 16).round() / 16  # many elements on the very edges
    edges = (torch.arange(1, 9) / 4).double()
    shapes = [Boxcar(), Triangle(area="unit"), Asymmetric(), PinnedAsymmetric(area="unit")]
    layer = Observation(Gate(Boxcar(), (0.5,)), u[None], g[None], later=r[None] if temporal else None)
    tables = gather(layer, shapes, edges, 4, torch.tensor(window, dtype=torch.float64))
    for at, shape in enumerate(shapes):
        for row, width in enumerate([0.25, 0.5, 0.75, 1.0, window]):
            f = shape.derivative(u - 0.5, width)
            delta = g * f
            cross = [(delta * r).sum(), (r * r).sum()] if temporal else [0.0, 0.0]
            rows = [200, delta.sum(), delta.abs().sum(), (delta**2).sum(), *cross]
            near(tables.delta[at, row].tolist(), [float(value) for value in rows])
            near(tables.value[at, row, 1:4].tolist(), [f.sum().item(), f.sum().item(), (f * f).sum().item()])


def test_gradients_that_cancel_are_summed_again():
    u = torch.tensor([1e-9 - 0.5, -2.0, -2.0, -2.0], dtype=torch.float64)
    layer = Observation(Gate(Boxcar(), (0.0,)), u[None], torch.ones(1, 4).double())
    table = gather(layer, [Asymmetric()], torch.tensor([0.5, 1.0]).double(), 2, torch.tensor(0.5).double())
    exact = Asymmetric().derivative(u, 0.5)[0].item()
    assert 0 < exact < 1e-6
    near(table.delta[0, 0, 1].item() / exact, 1.0)
    near(table.delta[0, 0, 3].item() / exact**2, 1.0)


def test_multiples_are_thresholds_without_end():
    from a2sg.adopt.gates import Multiples

    gate = Multiples(Boxcar(), threshold=0.5, most=3)
    u = torch.tensor([-1.0, 0.2, 0.75, 0.76, 1.5, 9.0], dtype=torch.float64)
    near(nearest(gate, u).tolist(), [-1.5, -0.3, 0.25, -0.24, 0.0, 7.5])
    assert reach(gate) == 0.25
    layer = Observation(gate, u[None], torch.ones(1, 6).double())
    table = gather(layer, [Boxcar()], torch.tensor([0.25, 0.5]).double(), 2, torch.tensor(0.1).double())
    assert table.delta[0, 0, 1] == 3
    assert table.delta[0, 1].isnan().all(), "windows of 0.5 overlap"
    assert table.held.tolist() == [3, 4, 1]


class Twice(nn.Module):
    """One neuron for two layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.out = nn.Linear(9, 8), nn.Linear(8, 5), nn.Linear(5, 4)
        self.lif = a2sg.LIF(3)
        self.double()

    def forward(self, x):
        x = self.lif(3 * self.first(x))
        return self.out(self.lif(3 * self.second(x))).mean(0)


def test_uses_of_one_neuron_add_up():
    net = Twice()
    x, y = batch(3)
    (layer,) = a2sg.inspect(net, (x, y), summed).layers.values()
    assert layer.neurons == 8 + 5
    with a2sg.recording(net) as records:
        loss = summed(net(x), y)
        potentials = [record.potential for record in records["lif"]]
        spikes = [record.spikes for record in records["lif"]]
        ups = torch.autograd.grad(loss, spikes)
    for t, step in enumerate(layer.steps):
        # The threshold of soft resets adds to what arrives, except at the last step.
        distances = torch.cat([part[t].flatten() for part in potentials]) - 1
        near(step.inside, (distances.abs() <= 1).double().mean().item())
        near(step.potential.mean, distances.mean().item())
        assert sum(step.histogram) == 6 * 13
    last = torch.cat([up[-1].flatten() for up in ups])
    near(layer.steps[-1].upstream_norm, last.norm().item())
    quiet = sum(int((part == 0).flatten(0, 1).all(0).sum()) for part in spikes)
    near(layer.dead, quiet / 13)


def plain(found):
    """Numbers without what they were found with."""
    return [
        {key: value for key, value in layer.items() if key not in ("kind", "surrogate")}
        for layer in found.to_dict()["layers"]
    ]


def test_an_adapted_model_has_the_numbers_of_our_neurons():
    from functools import partial

    x, y = draw(Residual)
    torch.manual_seed(0)
    mine = Residual(partial(a2sg.LIF, steps=4)).double()
    torch.manual_seed(0)
    theirs = Residual(Looped).double()
    a2sg.adapt(theirs, steps=4, functions={Looped: "act"})
    expected, found = (plain(a2sg.inspect(net, (x, y), summed)) for net in (mine, theirs))
    one, other = flat(found), flat(expected)
    numbers = {path for path, value in other.items() if isinstance(value, float)}
    assert {path: one[path] for path in numbers} == pytest.approx(
        {path: other[path] for path in numbers}, rel=1e-6
    )
    assert {path: one[path] for path in one.keys() - numbers} == {
        path: other[path] for path in other.keys() - numbers
    }


def flat(thing):
    """Leaves of nested dicts and lists, by path."""
    if isinstance(thing, dict):
        return {f"{key}.{path}": leaf for key, part in thing.items() for path, leaf in flat(part).items()}
    if isinstance(thing, list):
        return flat(dict(enumerate(thing)))
    return {"": thing}


def loop(model, x):
    return torch.stack([model(step) for step in x]).mean(0)


def test_a_network_called_once_a_step():
    x, y = draw(Stepwise)
    torch.manual_seed(0)
    net = Stepwise(Stepped).double()
    windows = a2sg.adapt(net, steps=4, functions={Stepped: "act"}, **NOW)
    found = a2sg.inspect(net, (x, y), summed, forward=loop)
    assert net.neurons[0].v == 0.0
    assert {len(layer.steps) for layer in found.layers.values()} == {4}
    summed(loop(net, x), y).backward()
    windows.step()
    rows = {(row["layer"], row["step"]): row for row in windows.history}
    for name, layer in found.layers.items():
        for step in layer.steps:
            near(step.own.sgv, rows[name, step.step]["sgv_before"])
    with pytest.raises(InputError, match="reset them"):
        a2sg.inspect(net, (x, y), summed, forward=loop)
    for neuron in net.neurons:
        neuron.rest()
    with pytest.raises(InputError, match="saw 3 steps"):
        a2sg.inspect(net, (x[:3], y), summed, forward=loop)


def test_our_own_sites_in_a_step_loop():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.site = nn.Linear(9, 4), a2sg.SpikeSite(4)

        def forward(self, x):
            return torch.stack([a2sg.spike(u - 0.5, self.site) for u in self.linear(x)]).mean(0)

    x, y = batch(4)
    layer = a2sg.inspect(Own().double(), (x, y), summed).layers["site"]
    assert layer.kind == "SpikeSite"
    assert len(layer.steps) == 4


def test_everything_stays_as_it_was():
    torch.manual_seed(0)
    net = a2sg.create_model("vgg_small", in_channels=1, image_size=8)
    net = nn.Sequential(nn.Dropout(0.3), net)
    windows = a2sg.AdaptiveWindows(net, **NOW)
    for observer in windows.observers.values():
        observer.handle = threading.Lock()  # as the events of a GPU's clock, it has no copy
    images, labels = torch.randn(6, 1, 8, 8, requires_grad=True), torch.arange(6)

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs.mean(0), targets)

    loss(net(images), labels).backward()
    images.grad = None
    state = copy.deepcopy(net.state_dict())
    grads = {name: (p.grad, p.grad.clone()) for name, p in net.named_parameters()}
    tables = {name: observer.table.clone() for name, observer in windows.observers.items()}
    net[1].eval()
    modes = [module.training for module in net.modules()]
    rng = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = a2sg.inspect(net, (images, labels), loss)
    with torch.no_grad():
        second = a2sg.inspect(net, (images, labels), loss)
    assert first == second, "the same random numbers were drawn, and a model in no_grad makes no difference"
    assert torch.equal(rng[0], torch.get_rng_state())
    assert rng[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert net.state_dict().keys() == state.keys()
    for name, parameter in net.named_parameters():
        assert parameter.grad is grads[name][0]
        assert torch.equal(parameter.grad, grads[name][1])
    assert modes == [module.training for module in net.modules()]
    assert images.grad is None
    for name, site in windows.sites.items():
        assert site.observer is windows.observers[name]
        assert torch.equal(site.observer.table, tables[name])
        assert site.backend == "auto"


def test_a_loss_with_parameters_keeps_their_gradients():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, outputs, labels):
            return self.scale * summed(outputs, labels)

    loss = Learned()
    a2sg.inspect(Net(Plan()), batch(4), loss)
    assert loss.scale.grad is None


def test_evaluation_and_training_differ_by_batch_norm():
    torch.manual_seed(0)
    net = a2sg.create_model("vgg_small", in_channels=1, image_size=8)
    data = torch.randn(6, 1, 8, 8) * 3 + 1, torch.arange(6)

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs.mean(0), targets)

    train = a2sg.inspect(net.train(), data, loss)
    evaluation = a2sg.inspect(net.eval(), data, loss)
    assert (train.facts["mode"], evaluation.facts["mode"]) == ("train", "eval")
    name = "conv1.neuron"
    assert abs(train.layers[name].steps[0].potential.mean + 1) < 1e-3, "normalised to mean 0"
    assert abs(evaluation.layers[name].steps[0].potential.mean + 1) > 1e-3


def test_layers_that_no_gradient_comes_to_are_told():
    net = Net(Plan())
    for parameter in net.linears[0].parameters():
        parameter.requires_grad_(False)
    found = a2sg.inspect(net, batch(4), summed)
    assert list(found.layers) == ["neurons.1"]
    (verdict,) = found.verdicts["neurons.0"]
    assert verdict.rule == "unreached"
    assert "frozen" in verdict.text
    assert found.to_dict()["unreached"] == ["neurons.0"]


def test_compiled_and_wrapped_models_are_looked_into():
    net = Net(Plan())
    expected = plain(a2sg.inspect(net, batch(4), summed))
    assert plain(a2sg.inspect(torch.compile(net), batch(4), summed)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": nn.Linear(9, 4)}, "found no spiking neurons"),
        ({"model": print}, "must be a torch module"),
        ({"model": a2sg.LIF(4, window=torch.ones(4, 1, 9))}, "one per step"),
        ({"batch": torch.zeros(3)}, "must be a pair"),
        ({"loss": lambda outputs, labels: outputs}, "one number, not (6, 4)"),
        ({"loss": lambda outputs, labels: 3.0}, "one number, not float"),
        ({"loss": lambda outputs, labels: outputs.sum().detach()}, "no gradient"),
        ({"loss": lambda outputs, labels: outputs.sum() * math.nan}, "the loss is nan"),
        ({"widest": 0}, "widest must be a number above 0"),
        ({"candidates": 1}, "candidates must be a whole number of at least 2"),
    ],
)
def test_what_cannot_be_inspected(options, message):
    options = {"model": Net(Plan()), "batch": batch(4), "loss": summed, **options}
    with pytest.raises(InputError) as caught:
        a2sg.inspect(**options)
    assert message in str(caught.value)


def test_attention_at_another_threshold_has_its_own():
    from functools import partial

    torch.manual_seed(0)
    net = Attention(partial(a2sg.LIF, steps=4)).double()
    found = a2sg.inspect(net, draw(Attention), summed)
    assert next(iter(found.layers)) == "fires.0"
    assert set(found.layers) == {*(f"fires.{i}" for i in range(4)), "attend"}
    assert list(SHAPES) == list(HAND)


def test_import_stays_light():
    import subprocess
    import sys

    heavy = "('rich', 'matplotlib', 'lightning', 'scipy', 'sklearn', 'pydantic', 'yaml')"
    code = f"import sys, a2sg; a2sg.inspect; assert not any(name in sys.modules for name in {heavy})"
    subprocess.run([sys.executable, "-c", code], check=True)
