"""Integer spikes as binary ones: the same outputs, binary inputs of every weight, an untouched original."""

import copy

import pytest
import torch
from torch import nn

import a2sg
from a2sg import LIF, IntegerLIF
from a2sg.analysis import measure
from a2sg.errors import InputError
from a2sg.models import create_model, unfold
from a2sg.models.layers import PerStep
from transformer_networks import TINY, images, settled, stirred, tiny

WEIGHTS = (nn.Conv2d, nn.Linear)


def trained(name, **options):
    """A network in float64 whose norms have the statistics of a batch, and an input."""
    torch.manual_seed(0)
    model = stirred(tiny(name, **{"neuron": "integer_lif", **options}))
    return settled(model, images(TINY[name], 16).double()), images(TINY[name], 3).double()


def inputs_of_weights(model, x):
    seen = {}

    def hook(name):
        def keep(module, inputs, output):
            seen[name] = inputs[0]

        return keep

    hooks = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, WEIGHTS)
    ]
    with torch.no_grad():
        model(x)
    for handle in hooks:
        handle.remove()
    return seen


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        *[(name, levels) for name in ("espikeformer_t", "espikeformer_s_fpn") for levels in (1, 3, 4)],
        # Not 3: thirds round, and Spikformer's attention meets its thresholds exactly.
        *[("spikformer_4_384", levels) for levels in (1, 2, 4)],
    ],
)
def test_the_outputs_are_the_same(name, levels, steps):
    model, x = trained(name, steps=steps, neuron_options={"levels": levels})
    unfolded = unfold(model)
    for shown in (x, torch.stack([x, 0.5 * x])[:steps]):
        with torch.no_grad():
            expected = model(shown)
            torch.testing.assert_close(unfolded(shown), expected, rtol=0, atol=1e-5)
        assert expected.std() > 0.01


def test_spikes_may_be_pooled_and_averaged():
    torch.manual_seed(0)
    for name, options in {
        "spikformer_2_256": TINY["spikformer_2_256"],
        "vgg_small": {"image_size": 8, "width": 0.25},
    }.items():
        model = create_model(name, num_classes=3, in_channels=2, steps=2, neuron="integer_lif", **options)
        model = settled(stirred(model), images(options, 16).double())
        x = images(options).double()
        with torch.no_grad():
            torch.testing.assert_close(unfold(model)(x), model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["espikeformer_t", "espikeformer_t_fpn"])
def test_every_weight_after_the_first_reads_binary_spikes(name):
    model, x = trained(name, steps=2)
    before, after = inputs_of_weights(model, x), inputs_of_weights(unfold(model), x)
    assert len(before) == len(after) > 20
    first, *others = after.values()
    assert len(first) == 2 * 4 * len(x)  # T · D images
    assert all(set(spikes.unique().tolist()) <= {0.0, 1.0} for spikes in others)
    for spikes, counts in zip(others, list(before.values())[1:], strict=True):
        steps = spikes.unflatten(0, (2, 4, len(x)))
        torch.testing.assert_close(steps.mean(1), counts.unflatten(0, (2, len(x))))
        assert (steps.diff(dim=1) <= 0).all()  # a neuron's spikes come first
    assert sum(len(spikes.unique()) > 2 for spikes in before.values()) > 20


def test_accumulates_are_the_same():
    model, x = trained("espikeformer_t", steps=1)
    whole, binary = measure(model, x), measure(unfold(model), x)
    assert binary.accumulates == pytest.approx(whole.accumulates)
    assert binary.accumulates > 0
    assert binary.macs == pytest.approx(4 * whole.macs)  # the image is shown four times


def test_the_original_stays_as_it_is():
    model, x = trained("espikeformer_t", steps=1)
    expected, modules = model(x), [type(module) for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    model.train()
    unfolded = unfold(model)
    assert not unfolded.training
    assert model.training
    assert [type(module) for module in model.modules()] == modules
    with torch.no_grad():
        for parameter in unfolded.parameters():
            parameter.zero_()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert torch.equal(model.eval()(x), expected)


def test_neurons_of_two_kinds():
    def either(steps, surrogate, window, threshold=1.0):
        kind = LIF if threshold == 0.5 else IntegerLIF
        return kind(steps, threshold=threshold, surrogate=surrogate, window=window)

    model, x = trained("spikformer_4_384", steps=3, neuron=either)
    with torch.no_grad():
        torch.testing.assert_close(unfold(model)(x), model(x), rtol=0, atol=1e-5)


class Own(nn.Module):
    """A network of one's own, over `[T, B, 2, 6, 6]`, with layers that are not affine, and a LIF."""

    def __init__(self, decides=False):
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.MaxPool2d(2)
        self.first, self.second, self.third = IntegerLIF(2, levels=4), IntegerLIF(2, levels=4), LIF(2)
        self.hidden = PerStep(nn.Sequential(nn.Linear(54, 12), nn.LayerNorm(12)))
        self.activation, self.wide, self.head = nn.GELU(), nn.Linear(12, 12), nn.Linear(12, 3)
        self.decides = decides

    def forward(self, x):
        steps = x.shape[:2]
        x = self.norm(self.conv(x.flatten(0, 1)))
        x = self.pool(self.first(x.unflatten(0, steps)).flatten(0, 1)).unflatten(0, steps)
        x = self.second(self.activation(self.hidden(x.flatten(2))))
        x = self.head(x + self.third(3 * self.wide(x)))
        return x.mean(0) if self.decides else x


def own(**options):
    torch.manual_seed(0)
    return settled(Own(**options).double(), 2 * torch.randn(2, 16, 2, 6, 6).double())


@pytest.mark.parametrize("decides", [False, True])
@pytest.mark.parametrize("samples", [3, 8])  # 8 = T · D: samples are not taken for steps
def test_a_network_of_ones_own(decides, samples):
    model, x = own(decides=decides), 2 * torch.randn(2, samples, 2, 6, 6).double()
    unfolded = unfold(model, x)
    with torch.no_grad(), a2sg.recording(model) as records:
        expected = model(x)
    assert len(records["second"][0].spikes.unique()) >= 3
    assert 0 < records["third"][0].spikes.mean() < 1
    with torch.no_grad():
        torch.testing.assert_close(unfolded(x), expected, rtol=0, atol=1e-9)
    seen = inputs_of_weights(unfolded, x)
    for name in ("hidden.0.layer", "wide"):
        assert seen[f"model.{name}"].unique().tolist() == [0, 1], name


class Squared(nn.Module):
    def forward(self, x):
        return x * x


@pytest.mark.parametrize("between", [Squared, lambda: PerStep(nn.MaxPool1d(2))])
def test_what_does_not_commute_with_a_mean_is_found_out(between):
    torch.manual_seed(0)
    layers = [nn.Linear(8, 16), IntegerLIF(2), nn.Linear(16, 16), between(), IntegerLIF(2, threshold=0.3)]
    with pytest.raises(InputError, match="does not commute with a mean over steps"):
        unfold(nn.Sequential(*layers), 4 * torch.randn(2, 9, 8))


def test_a_network_of_fixed_steps_is_told():
    class Fixed(Own):
        def forward(self, x):
            return super().forward(x.view(2, 3, 2, 6, 6))

    with pytest.raises(InputError, match="cannot be run on D times as many steps"):
        unfold(Fixed(), torch.randn(2, 3, 2, 6, 6))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: tiny("spikformer_4_384"), "needs a model with integer neurons"),
        (lambda: nn.Sequential(nn.Linear(3, 3), a2sg.IntegerLIF()), "unfold needs example="),
        (lambda: tiny("espikeformer_t", neuron_options={"normalize": False}), "normalize=True"),
        (lambda: tiny("qkformer_4_384", neuron="integer_lif"), "no exact unfolding"),
    ],
)
def test_what_cannot_unfold_is_told(model, message):
    with pytest.raises(InputError, match=message):
        unfold(model())


def test_levels_must_agree():
    model = tiny("espikeformer_t")
    model.neuron.levels = 2
    with pytest.raises(InputError, match="same levels"):
        unfold(model)
