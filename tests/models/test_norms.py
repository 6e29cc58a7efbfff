"""Batch norm of the time mean, against its formula, and the choice between norms."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.layers import SpikingLayer, TdBatchNorm, per_step
from a2sg.models.norms import NORMS, TimeMeanBatchNorm

SHAPES = [(4, 5, 3), (4, 5, 3, 7), (4, 5, 3, 6, 2), (1, 5, 3, 2, 2)]


def statistics(x):
    """Mean and (population) variance of each channel of the time mean of x `[T, B, C, ...]`."""
    average = sum(x) / len(x)
    over = [d for d in range(average.dim()) if d != 1]
    mean = average.mean(over, keepdim=True)
    return mean, ((average - mean) ** 2).mean(over, keepdim=True)


def formula(x, mean, variance, weight, bias):
    """The time mean of x, normalised and repeated."""
    shape = (-1, *[1] * (x.dim() - 3))
    one = (sum(x) / len(x) - mean) / (variance + 1e-5).sqrt() * weight.view(shape) + bias.view(shape)
    return torch.stack([one] * len(x))


def example(shape):
    torch.manual_seed(0)
    norm = TimeMeanBatchNorm(3, threshold=0.5, alpha=2.0).double()
    assert norm.bn.weight.tolist() == [1.0, 1.0, 1.0]
    nn.init.normal_(norm.bn.weight)
    nn.init.normal_(norm.bn.bias)
    return norm, torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_batch_norm_of_the_time_mean(shape):
    norm, x = example(shape)
    inputs = x, norm.bn.weight, norm.bn.bias
    upstream = torch.randn(shape, dtype=torch.float64)
    results = norm(x), formula(x, *statistics(x), norm.bn.weight, norm.bn.bias)
    torch.testing.assert_close(*results)
    grads = [torch.autograd.grad(result, inputs, upstream) for result in results]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation_uses_the_statistics_of_training(shape):
    norm, x = example(shape)
    norm.bn.momentum = 1.0
    norm(x)
    norm.eval()
    mean, variance = statistics(x)
    average = x.mean(0)
    count = average.numel() / average.shape[1]
    other = torch.randn_like(x)
    expected = formula(other, mean, variance * count / (count - 1), norm.bn.weight, norm.bn.bias)
    torch.testing.assert_close(norm(other), expected)


def test_a_layer_normalises_as_it_is_told():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 2, 5, 5, dtype=torch.float64)
    for norm in NORMS.values():
        layer = SpikingLayer(nn.Conv2d(2, 4, 3), a2sg.LIF(4), norm=norm).double()
        assert type(layer.norm) is norm
        upstream = torch.randn(4, 3, 4, 3, 3, dtype=torch.float64)
        found = []
        for spikes in (layer(x), layer.neuron(layer.norm(per_step(layer.synapse, x)))):
            assert 0 < spikes.mean() < 1
            found.append((spikes, *torch.autograd.grad(spikes, list(layer.parameters()), upstream)))
        torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["vgg_small", "vggsnn", "resnet19", "sew_resnet18", "ms_resnet18"])
def test_every_norm_of_a_network_is_the_chosen_one(name):
    options = {"in_channels": 1, "image_size": 16, "width": 1 / 32}
    for chosen, kind in {"time_mean": TimeMeanBatchNorm, "td": TdBatchNorm}.items():
        model = create_model(name, norm=chosen, **options)
        norms = [module for module in model.modules() if isinstance(module, TdBatchNorm)]
        assert len(norms) > 4
        assert {type(norm) for norm in norms} == {kind}
    default = create_model(name, **options)
    assert {type(norm) for norm in default.modules() if isinstance(norm, TdBatchNorm)} == {TdBatchNorm}
    model.load_state_dict(create_model(name, norm="time_mean", **options).state_dict())


def test_the_order_of_events_is_lost():
    torch.manual_seed(0)
    events = torch.randn(4, 3, 2, 8, 8)
    options = {"in_channels": 2, "image_size": 8, "width": 0.25}
    for chosen in NORMS:
        model = create_model("vgg_small", norm=chosen, **options).double()
        same = torch.allclose(model(events.double()), model(events.double().flip(0)))
        assert same == (chosen == "time_mean")


def test_an_unknown_norm_is_told():
    with pytest.raises(InputError, match=r"unknown norm 'time-mean' \(did you mean 'time_mean'"):
        create_model("vgg_small", norm="time-mean")
