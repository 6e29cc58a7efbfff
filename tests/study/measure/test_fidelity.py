"""Surrogate, smoothed and noisy gradients against autograd, closed forms and sums over all spike patterns."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.study.measure.fidelity import (
    SHAPES,
    smoothed_gradient,
    surrogate_fidelity,
    surrogate_gradient,
    with_surrogate,
)
from a2sg.study.measure.noise import noisy_gradient
from a2sg.study.measure.unrolled import unrolled
from a2sg.surrogate import Surrogate, Triangle
from networks import Net, Plan, batch


@dataclass(frozen=True)
class Bell(Surrogate):
    """A Gaussian density of deviation `window` (at unit area)."""

    bounded: ClassVar[bool] = False
    mass: ClassVar[float] = math.sqrt(2 * math.pi)

    def profile(self, z):
        return torch.exp(-z * z / 2)

    def cumulative(self, z):
        return self.mass * torch.special.ndtr(z)


def cross_entropy(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)


def one_neuron(samples=24):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 1), a2sg.LIF(1)).double()
    x = torch.randn(1, samples, 3, dtype=torch.float64)
    return model, (x, torch.zeros(samples))


def mean_spike(spikes, _):
    return spikes.mean()


@pytest.mark.parametrize("noise", [0.2, 0.8])
def test_one_neuron_and_step_has_a_closed_form(noise):
    """It fires with probability Φ(x/σ): the gradient is φ(x/σ)/σ times the input."""
    model, data = one_neuron()
    x = data[0][0]
    distance = (model[0](x).squeeze(1) - 1).detach()
    density = torch.exp(-((distance / noise) ** 2) / 2) / (noise * math.sqrt(2 * math.pi)) / len(x)
    exact = {"0.weight": (density[:, None] * x).sum(0, keepdim=True), "0.bias": density.sum()[None]}
    found = noisy_gradient(model, data, mean_spike, noise, samples=1500, replicates=16)
    for name, value in exact.items():
        rows = found.estimates[name]
        error = rows.std(0) / 4
        assert (found.mean()[name] - value).abs().max() < 5 * error.max() + 0.02 * value.abs().max()
        assert error.max() < 0.1 * value.abs().max()
    # The surrogate that is this very density has this very gradient, and the smoothed network is exact here.
    bell = {"bell": Bell(area="unit")}
    rows = surrogate_fidelity(
        model, data, mean_spike, shapes=bell, windows=(noise,), noises=(noise,), samples=1500, replicates=16
    )
    assert {(row.reference, row.layer) for row in rows} == {
        (reference, layer) for reference in ("smoothed", "noise") for layer in ("0", "all")
    }
    for row in rows:
        smoothed = row.reference == "smoothed"
        assert row.cosine == pytest.approx(1, abs=1e-9 if smoothed else 0.01)
        assert row.ratio == pytest.approx(1, abs=1e-9 if smoothed else 0.12)
    own = surrogate_gradient(with_surrogate(model, bell["bell"], noise), data, mean_spike)
    for name, value in exact.items():
        torch.testing.assert_close(own[name], value, rtol=1e-6, atol=1e-9)


def exact_expected_loss(model, data, noise):
    """The sum over every pattern of spikes of a hidden layer at one step: P(pattern) · loss."""
    x, y = data
    u = model[0](x[0])
    fires = torch.special.ndtr((u - 1) / noise)
    total = 0
    for pattern in itertools.product((0.0, 1.0), repeat=u.shape[1]):
        spikes = torch.tensor(pattern, dtype=u.dtype)
        chance = torch.where(spikes > 0, fires, 1 - fires).prod(1)
        logits = model[2](spikes.expand(len(u), -1))
        total = total + (chance * nn.functional.cross_entropy(logits, y, reduction="none")).mean()
    return total


def test_a_layer_and_step_agree_with_the_sum_over_all_patterns():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), a2sg.LIF(1, threshold=1.0), nn.Linear(4, 3)).double()
    nn.init.normal_(model[0].weight)
    data = torch.randn(1, 10, 4, dtype=torch.float64), torch.randint(3, (10,))
    noise = 0.4
    parameters = dict(model.named_parameters())
    exact = torch.autograd.grad(exact_expected_loss(model, data, noise), list(parameters.values()))

    def loss(logits, labels):
        return nn.functional.cross_entropy(logits[0], labels)

    found = noisy_gradient(model, data, loss, noise, samples=400, replicates=8)
    both = [torch.cat([g.flatten() for g in group]) for group in (exact, found.mean().values())]
    assert torch.cosine_similarity(*both, dim=0) > 0.995
    assert (both[1].norm() / both[0].norm()).item() == pytest.approx(1, abs=0.05)
    for (name, rows), value in zip(found.estimates.items(), exact, strict=True):
        error = rows.std(0) / math.sqrt(8)
        assert ((found.mean()[name] - value).abs() < 5 * error + 0.03 * value.abs().max()).all(), name


def test_noise_says_how_sure_it_is():
    model, data = one_neuron()
    options = {"shapes": {"t": Triangle(area="unit")}, "windows": (0.5,), "noises": (0.3,), "replicates": 8}
    few = surrogate_fidelity(model, data, mean_spike, samples=8, **options)
    many = surrogate_fidelity(model, data, mean_spike, samples=2000, **options)
    rough, fine = (next(row for row in rows if row.noise and row.layer == "all") for rows in (few, many))
    assert fine.reliability > 0.99
    assert rough.error > 3 * fine.error > 0
    assert fine.ceiling == pytest.approx(math.sqrt(2 * fine.reliability / (1 + fine.reliability)))
    assert abs(rough.cosine - fine.cosine) < 6 * rough.error + 0.02


def test_the_same_noise_on_both_sides():
    """A parameter that changes no spike has a gradient of exactly 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), a2sg.LIF(2), nn.Linear(2, 2)).double()
    data = torch.randn(2, 6, 3, dtype=torch.float64), torch.zeros(6)
    found = noisy_gradient(model, data, lambda out, _: 0 * out.sum() + out[..., 0].mean(), 0.5, samples=4)
    assert (found.estimates["2.weight"][:, 1] == 0).all()
    torch.testing.assert_close(found.estimates["2.bias"], torch.tensor([[1.0, 0.0]]).double().expand(8, 2))
    again = noisy_gradient(model, data, lambda out, _: out[..., 0].mean(), 0.5, samples=4)
    other = noisy_gradient(model, data, lambda out, _: out[..., 0].mean(), 0.5, samples=4, seed=1)
    assert all(torch.equal(found.estimates[name], again.estimates[name]) for name in found.estimates)
    assert not torch.equal(found.estimates["0.weight"], other.estimates["0.weight"])


@pytest.mark.parametrize(
    "plan",
    [
        Plan(shape="sigmoid-unit"),
        Plan(reset="hard", shape="arctan-unit"),
        Plan("plif", shape="sigmoid", detach=True),
    ],
    ids=str,
)
def test_the_smoothed_gradient_is_the_slope_of_the_smoothed_loss(plan):
    net = Net(plan)
    x, y = batch(plan.steps, size=4)
    found = smoothed_gradient(net, (x, y), cross_entropy)
    spike = lambda gate, u, window: gate.primitive(u, window)  # noqa: E731
    for neuron in net.neurons:
        neuron.detach_reset = False
    with torch.no_grad(), unrolled(net, spike):
        for name, parameter in net.named_parameters():
            flat = parameter.view(-1)
            for at in range(0, len(flat), 7):
                value = flat[at].item()
                losses = []
                for step in (1e-5, -1e-5):
                    flat[at] = value + step
                    losses.append(cross_entropy(net(x), y).item())
                flat[at] = value
                slope = (losses[0] - losses[1]) / 2e-5
                assert found[name].flatten()[at].item() == pytest.approx(slope, abs=1e-8, rel=1e-4), name


def test_the_surrogate_gradient_is_that_of_training():
    net = Net(Plan())
    x, y = batch(4)
    found = surrogate_gradient(with_surrogate(net, Triangle(), 0.7), (x, y), cross_entropy)
    twin = Net(Plan(shape="triangle", window=0.7))
    cross_entropy(twin(x), y).backward()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_every_shape_window_and_layer_has_a_row():
    net = Net(Plan(steps=2))
    x, y = batch(2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rows = surrogate_fidelity(net, (x, y), cross_entropy, windows=(0.5, 1.0))
    assert [(row.shape, row.window, row.layer) for row in rows] == [
        (shape, window, layer)
        for shape in SHAPES
        for window in (0.5, 1.0)
        for layer in ("linears.0", "linears.1", "out", "all")
    ]
    for row in rows:
        assert row.reference == "smoothed"
        assert -1 <= row.cosine <= 1
        assert row.noise is row.error is row.reliability is row.ceiling is None
    assert rows[0].to_dict()["shape"] == "boxcar"
    assert rows[3].parameters == sum(p.numel() for p in net.parameters())
    assert net.neurons[0].surrogate == Net(Plan(steps=2)).neurons[0].surrogate
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_images_are_repeated_along_their_own_dimension():
    model = a2sg.create_model("mlp_small", num_classes=2, in_channels=1, image_size=2, steps=2, hidden=(3,))
    data = torch.randn(5, 1, 2, 2), torch.randint(2, (5,))
    loss = lambda out, labels: cross_entropy(out.mean(0), labels)  # noqa: E731
    options = {"shapes": {"t": Triangle()}, "windows": (1.0,), "noises": (0.5,)}
    rows = surrogate_fidelity(model, data, loss, samples=16, replicates=2, **options)
    whole = next(row for row in rows if row.noise and row.layer == "all")
    assert whole.parameters == sum(p.numel() for p in model.parameters())
    assert whole.cosine > 0.3
    with pytest.raises(InputError, match=r"do not hold 5 samples in dimension 1: set batch_dim"):
        noisy_gradient(model, data, loss, 0.5, batch_dim=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (0.0,)}, "window must be a number above 0"),
        ({"windows": ()}, "give at least one shape"),
        ({"shapes": {}}, "give at least one shape"),
        ({"noises": (-0.1,)}, "deviation must be a number above 0"),
        ({"noises": (0.1,), "replicates": 1}, "replicates must be a whole number of at least 2"),
        ({"noises": (0.1,), "samples": 0}, "samples must be"),
        ({"noises": (0.1,), "step": 0.0}, "step must be a number above 0"),
    ],
)
def test_what_is_wrong_is_told(options, message):
    net = Net(Plan(steps=2))
    with pytest.raises(InputError, match=message):
        surrogate_fidelity(net, batch(2), cross_entropy, **options)


def test_a_large_model_and_other_libraries_are_refused():
    large = nn.Sequential(nn.Linear(200, 200), a2sg.LIF(1))
    with pytest.raises(InputError, match="40,200 trained parameters"):
        noisy_gradient(large, (torch.zeros(1, 2, 200), torch.zeros(2)), mean_spike, 0.1)
    from lookalikes import Looped

    host = nn.Sequential(nn.Linear(9, 4), Looped())
    a2sg.adapt(host, steps=2, functions={Looped: "act"})
    with pytest.raises(InputError, match="no neurons of a2sg"):
        surrogate_fidelity(host, (torch.zeros(2, 3, 9), torch.zeros(3)), mean_spike)
