"""Networks: what they compute, what they refuse, and that windows adapt in them."""

import copy
import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import a2sg
from a2sg.errors import InputError
from a2sg.models import MODELS, create_model, describe_models, list_models
from a2sg.models.layers import Frames, PerStep, SpikingLayer, TdBatchNorm, per_step
from a2sg.neuron import NEURONS, SpikingNeuron
from a2sg.surrogate import Boxcar, Triangle

LAYERS = {"vgg_small": 5, "vgg11": 10, "vgg16": 15, "vggsnn": 8}
"""Spiking layers of each network."""
NAMES = tuple(LAYERS)


def tiny(**options):
    return create_model(
        "vgg_small", **{"num_classes": 3, "in_channels": 2, "image_size": 8, "width": 0.125, **options}
    )


def neurons(model):
    return [module for module in model.modules() if isinstance(module, SpikingNeuron)]


@pytest.mark.parametrize(
    ("name", "channels", "size", "millions"),
    [("vgg11", 2, 32, 9.76), ("vgg11", 2, 48, 9.76), ("vgg16", 3, 32, 15.26), ("vggsnn", 2, 48, 9.27)],
)
def test_parameter_counts_are_the_published_ones(name, channels, size, millions):
    model = create_model(name, num_classes=10, in_channels=channels, image_size=size)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def test_models_are_listed_by_pattern_with_a_description():
    assert list_models("vgg1*") == ["vgg11", "vgg16"]
    assert list_models("*resnet19") == ["ms_resnet19", "resnet19"]
    assert set(list_models()) == set(describe_models())
    assert all(text.endswith(".") for text in describe_models().values())


@pytest.mark.parametrize(("name", "layers"), LAYERS.items())
def test_every_model_gives_logits_per_step(name, layers):
    assert name in list_models()
    model = create_model(name, num_classes=7, steps=2, in_channels=1, image_size=32, width=0.0625)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 2, 7)
    assert len(neurons(model)) == layers


@pytest.mark.parametrize("name", NAMES)
def test_images_need_not_be_square(name):
    model = create_model(name, in_channels=1, image_size=(32, 50), width=0.0625)
    assert model(torch.randn(2, 1, 32, 50)).shape == (4, 2, 10)
    with pytest.raises(InputError, match=r"image_size=\(32, 50\), but the images are 50x32"):
        model(torch.randn(2, 1, 50, 32))


def test_every_model_is_among_the_names_of_a_test_file():
    modules = [importlib.import_module(file.stem) for file in Path(__file__).parent.glob("test_*.py")]
    tested = {name for module in modules for name in getattr(module, "NAMES", ())}
    ours = {name for name in list_models() if MODELS[name].__module__.startswith("a2sg.")}
    assert tested == ours  # those of evidence/ are registered too, where its tests run in this process


def by_hand(model, images):
    """vgg_small in training mode, one step and one formula at a time."""
    weights = dict(model.named_parameters())
    x = images.unbind(0)

    def block(x, name, synapse):
        weight = weights[f"{name}.synapse.weight"]
        currents = torch.stack([synapse(step, weight) for step in x])
        over = [d for d in range(currents.dim()) if d != 2]
        mean = currents.mean(over, keepdim=True)
        variance = ((currents - mean) ** 2).mean(over, keepdim=True)
        shape = [-1] + [1] * (currents.dim() - 3)
        scale, shift = (
            weights[f"{name}.norm.bn.weight"].view(shape),
            weights[f"{name}.norm.bn.bias"].view(shape),
        )
        currents = (currents - mean) / (variance + 1e-5).sqrt() * scale + shift
        potential = torch.zeros_like(currents[0])
        spikes = []
        for current in currents:
            potential = 0.9 * potential + current
            spikes.append((potential >= 1).to(potential.dtype))
            potential = potential - spikes[-1]
        return spikes

    def conv(x, name):
        return block(x, name, lambda step, weight: F.conv2d(step, weight, padding=1))

    x = [F.avg_pool2d(step, 2) for step in conv(conv(x, "conv1"), "conv2")]
    x = [F.avg_pool2d(step, 2).flatten(1) for step in conv(conv(x, "conv3"), "conv4")]
    x = block(x, "fc1", F.linear)
    return torch.stack(
        [F.linear(step, weights["head.layer.weight"], weights["head.layer.bias"]) for step in x]
    )


def test_vgg_small_is_what_its_table_says():
    torch.manual_seed(0)
    model = tiny(steps=3).double()
    for module in model.modules():
        if isinstance(module, TdBatchNorm):  # other values than at the start, so that each matters
            nn.init.uniform_(module.bn.weight, 0.5, 2.0)
            nn.init.normal_(module.bn.bias, 0.3)
    images = torch.randn(3, 4, 2, 8, 8, dtype=torch.float64)
    logits = model(images)
    torch.testing.assert_close(logits, by_hand(model, images))
    assert logits.std() > 0


def settled(model):
    """The model in evaluation mode, with the statistics of one batch: a fresh one would stay silent."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    model.train()(torch.randn(16, 2, 8, 8))
    return model.eval()


def test_an_image_is_the_same_as_its_repetition():
    torch.manual_seed(0)
    model = settled(tiny(width=0.5))
    images = torch.randn(3, 2, 8, 8)
    assert not torch.equal(model(images), model(0.5 * images))
    assert torch.equal(model(images), model(images.repeat(4, 1, 1, 1, 1)))


def test_steps_of_events_differ():
    model = tiny()
    events = torch.randn(4, 3, 2, 8, 8)
    assert not torch.equal(model(events), model(events.flip(0)))


def test_the_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    model = tiny(width=0.5)
    model(torch.randn(8, 2, 8, 8)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_windows_adapt_and_are_saved_with_the_model():
    torch.manual_seed(0)
    model = tiny(width=0.5)
    windows = a2sg.AdaptiveWindows(model, every=1)
    for _ in range(2):
        model(torch.randn(8, 2, 8, 8)).square().mean().backward()
        windows.step()
    assert set(windows.sites) == {
        "conv1.neuron",
        "conv2.neuron",
        "conv3.neuron",
        "conv4.neuron",
        "fc1.neuron",
    }
    assert any((neuron.window != 1).any() for neuron in neurons(model))
    settled(model)
    images = torch.randn(2, 2, 8, 8)
    assert (model(images) != model(torch.zeros_like(images))).any(-1).all()
    other = tiny(width=0.5).eval()
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model)):
        assert torch.equal(twin(images), model(images))
        for mine, theirs in zip(neurons(model), neurons(twin), strict=True):
            assert torch.equal(mine.window, theirs.window)
            assert mine.window is not theirs.window


@pytest.mark.parametrize("neuron", sorted(NEURONS))
def test_every_neuron_fits(neuron):
    model = tiny(neuron=neuron, window=0.7, surrogate="triangle", neuron_options={"threshold": 0.8})
    assert model(torch.randn(2, 2, 8, 8)).shape == (4, 2, 3)
    for module in neurons(model):
        assert type(module) is NEURONS[neuron]
        assert module.surrogate == Triangle()
        assert module.threshold == 0.8
        assert module.window.tolist() == pytest.approx([0.7] * 4)
    first = model.conv1.norm.bn.weight
    assert torch.equal(first, torch.full_like(first, 0.8))


def test_neurons_of_ones_own_fit():
    made = []

    def own(steps, surrogate, window, gain=1.0):
        made.append((steps, surrogate, window, gain))
        return nn.Tanh()

    model = tiny(steps=2, neuron=own, surrogate=Boxcar(), window=0.5, neuron_options={"gain": 2.0})
    assert made == [(2, Boxcar(), 0.5, 2.0)] * 5
    assert model(torch.randn(2, 2, 8, 8)).shape == (2, 2, 3)
    with pytest.raises(InputError, match=r"neuron 'own' takes gain, not 'gian'"):
        tiny(neuron=own, neuron_options={"gian": 2.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vgg12"}, r"unknown model 'vgg12' \(did you mean 'vgg1"),
        ({"depth": 3}, r"model 'vgg_small' takes width, not 'depth'"),
        ({"widht": 3}, r"not 'widht' \(did you mean 'width'\?\)"),
        ({"num_class": 3}, r"not 'num_class' \(did you mean 'num_classes'\?\)"),
        ({"setting": 3}, "not 'setting'"),
        ({"width": 0}, "width must be a number above 0, not 0"),
        ({"image_size": 3}, "image_size must be at least 4 .* not 3"),
        ({"image_size": 8.0}, "image_size must be a whole number"),
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, not 0"),
        ({"in_channels": -1}, "in_channels"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"neuron": "liff"}, "unknown neuron 'liff' .*'lif'"),
        ({"neuron_options": {"decai": 0.5}}, "neuron 'lif' takes decay, .* not 'decai'"),
        ({"neuron_options": {"steps": 2}}, "neuron 'lif' takes .* not 'steps'"),
        ({"neuron": "if", "neuron_options": {"decay": 0.5}}, "neuron 'if' takes .* not 'decay'"),
        ({"surrogate": "box"}, "unknown surrogate 'box'"),
        ({"window": 0.0}, "window must be above 0"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(options, message):
    with pytest.raises(InputError, match=message) as told:
        create_model(**{"name": "vgg_small", **options})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3, 8, 8), "in_channels=2, but the images have 3"),
        ((4, 2, 8, 4), "image_size=8, but the images are 8x4"),
        ((5, 4, 2, 8, 8), "steps=4, but the input has T=5"),
        ((2, 8, 8), r"must be \[B, C, H, W\] or \[T, B, C, H, W\], not of shape \(2, 8, 8\)"),
    ],
)
def test_images_that_do_not_fit_are_told(shape, message):
    with pytest.raises(InputError, match=message):
        tiny()(torch.zeros(shape))


def test_integer_images_are_told():
    with pytest.raises(InputError, match="floating point"):
        tiny()(torch.zeros(4, 2, 8, 8, dtype=torch.uint8))


def test_frames_take_any_size_where_none_is_given():
    assert Frames(3, 1)(torch.zeros(2, 1, 5, 7)).shape == (3, 2, 1, 5, 7)


def test_per_step_applies_the_layer_to_each_step():
    conv, x = nn.Conv2d(2, 3, 3), torch.randn(4, 5, 2, 6, 6)
    expected = torch.stack([conv(step) for step in x])
    torch.testing.assert_close(per_step(conv, x), expected)
    torch.testing.assert_close(PerStep(conv)(x), expected)


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5, 3, 7), (4, 5, 3, 6, 2)])
def test_tdbn_normalises_over_time_batch_and_space(shape):
    norm = TdBatchNorm(3, threshold=0.5, alpha=2.0).double()
    x = torch.randn(shape, dtype=torch.float64) * torch.linspace(1, 9, 4, dtype=torch.float64).view(
        4, *[1] * (len(shape) - 1)
    )
    y = norm(x)
    for channel in range(3):
        mine = x[:, :, channel]
        expected = (mine - mine.mean()) / (mine.var(unbiased=False) + 1e-5).sqrt()  # weight 2 · 0.5
        torch.testing.assert_close(y[:, :, channel], expected)
        assert norm.bn.running_mean[channel] == pytest.approx(0.1 * mine.mean().item())


@torch.no_grad()
def test_weights_and_norm_fold_into_one():
    torch.manual_seed(0)
    for synapse, shape, fuse in (
        (nn.Conv2d(2, 4, 3, padding=1), (3, 5, 2, 6, 6), fuse_conv_bn_eval),
        (nn.Linear(6, 4), (3, 5, 6), fuse_linear_bn_eval),
    ):
        layer = SpikingLayer(synapse, a2sg.LIF(3)).double()
        x = torch.randn(shape, dtype=torch.float64)
        layer(x)  # running statistics
        layer.eval()
        folded = per_step(fuse(layer.synapse, layer.norm.bn), x)
        torch.testing.assert_close(folded, layer.norm(per_step(layer.synapse, x)))
        assert torch.equal(layer.neuron(folded), layer(x))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 2, 8, 8, 3), r"have 8 \(shape .*\): they come last, so permute to \[..., C, H, W\]"),
        ((5, 4, 3, 8, 8), r"T=5 in its first dimension: .* if the batch came first, use x.transpose\(0, 1\)"),
        ((2, 1, 8, 8), r"have 1 \(shape \([^)]*\)\)$"),
    ],
)
def test_images_in_another_order_are_guessed(shape, message):
    with pytest.raises(InputError, match=message):
        create_model("vgg_small", steps=4, image_size=8)(torch.zeros(shape))


def test_images_of_bytes_are_to_be_scaled():
    with pytest.raises(InputError, match=r"not torch.uint8: scale pixels with .float\(\) / 255"):
        create_model("vgg_small", image_size=8)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
