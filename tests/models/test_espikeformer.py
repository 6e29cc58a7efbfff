"""E-SpikeFormer: published sizes, its integer neurons, and every layer against its formula."""

import pytest
import torch
import torch.nn.functional as F

import transformer_networks as transformers
from a2sg import LIF, IntegerLIF
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.blocks import ResidualChain
from a2sg.neuron import recording
from a2sg.surrogate import Asymmetric, Boxcar
from espikeformer_by_hand import by_hand
from transformer_networks import (
    TINY,
    ByHand,
    images,
    integer,
    neurons,
    parameters,
    stirred,
    tiny,
)

NAMES = ("espikeformer_t", "espikeformer_s", "espikeformer_m", "espikeformer_l")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("espikeformer_t", 2.702),  # no count is published
        ("espikeformer_s", 5.106),  # published: 5.1
        ("espikeformer_m", 10.023),  # 10.0
        ("espikeformer_l", 18.988),  # 19.0
    ],
)
def test_parameter_counts(name, millions):
    model = create_model(name, num_classes=1000, image_size=224, steps=1)
    assert round(parameters(model) / 1e6, 3) == millions


@pytest.mark.parametrize("name", NAMES)
def test_every_espikeformer_gives_logits(name):
    assert tiny(name)(images(TINY[name])).shape == (2, 4, 3)


@pytest.mark.parametrize("duty", transformers.DUTIES)
def test_it_does_what_every_network_must(duty):
    torch.manual_seed(0)
    duty(lambda **options: tiny("espikeformer_t", **options), TINY["espikeformer_t"])


@pytest.mark.parametrize("name", ["espikeformer_t", "espikeformer_l_fpn"])
def test_its_neurons_are_integer_ones_unless_others_are_chosen(name):
    for neuron in neurons(tiny(name, steps=1)):
        assert type(neuron) is IntegerLIF
        assert neuron.surrogate == Boxcar()
        assert (neuron.levels, neuron.normalize, neuron.window.tolist()) == (4, True, [0.5])
    for neuron in neurons(tiny(name, neuron_options={"levels": 2}, surrogate="asymmetric", window=0.3)):
        assert type(neuron) is IntegerLIF
        assert neuron.surrogate == Asymmetric()
        assert neuron.levels == 2
        assert neuron.window.tolist() == pytest.approx([0.3, 0.3])
    for neuron in neurons(tiny(name, neuron="lif")):
        assert type(neuron) is LIF
        assert neuron.surrogate == Asymmetric()
        assert neuron.window.tolist() == [1.0, 1.0]


def test_the_gradient_is_straight_through():
    neuron = neurons(tiny("espikeformer_t", steps=1))[0]
    current = torch.linspace(-1.3, 5.3, 133)[None].requires_grad_()
    neuron(current).sum().backward()
    inside = (current >= 0) & (current <= 4)
    torch.testing.assert_close(current.grad, inside.float() / 4)


@pytest.mark.parametrize("steps", [1, 2])
def test_it_is_what_its_paper_says(steps):
    torch.manual_seed(0)
    model = stirred(tiny("espikeformer_t", steps=steps))
    frames = torch.stack([images(TINY["espikeformer_t"], 3) for _ in range(steps)]).double()
    with recording(model) as records:
        logits = model(frames)
    hand = ByHand(model)
    spikes = integer([step.mean((2, 3)) for step in by_hand(hand, list(frames))[-1]])
    weight, bias = (hand.weights[f"head.layer.{part}"] for part in ("weight", "bias"))
    torch.testing.assert_close(logits, torch.stack([F.linear(step, weight, bias) for step in spikes]))
    seen = {value for (record,) in records.values() for value in record.spikes.unique().tolist()}
    assert seen == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize("size", [(32, 48), (37, 21)])
def test_sizes_need_not_be_multiples(size):
    options = {"image_size": size}
    assert tiny("espikeformer_t", **options)(images(options)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": (4, 8, 16)}, r"dims must be 4 whole numbers, not \(4, 8, 16\)"),
        ({"dims": 4}, "dims must be 4 whole numbers, not 4"),
        ({"dims": (4, 8, 16, 0)}, "dims must be a whole number of at least 1, not 0"),
        ({"dims": (3, 8, 16, 16)}, "the first of dims must be even, not 3"),
        ({"dims": (4, 8, 15, 16)}, "15 channels cannot be divided into heads=2"),
        ({"depths": (1, 1, 1)}, r"depths must be 2 whole numbers, not \(1, 1, 1\)"),
        ({"depths": (1, 0)}, "depths must be a whole number of at least 1, not 0"),
        ({"image_size": (48, 15)}, r"image_size must be at least 16 .* not \(48, 15\)"),
        ({"neuron_options": {"reset": "hard"}}, "neuron 'integer_lif' takes .* not 'reset'"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(options, message):
    with pytest.raises(InputError, match=message) as told:
        tiny("espikeformer_t", **options)
    assert "\n" not in str(told.value)


def test_blocks_start_as_their_input():
    """Their branches start at 0: else gradients grow from block to block on their way to the image."""
    chains = [module for module in tiny("espikeformer_t").modules() if isinstance(module, ResidualChain)]
    assert len(chains) == 6
    for chain in chains:
        current = torch.randn(2, 3, next(chain.parameters()).shape[1], 4, 4)
        assert torch.equal(chain(current), current)
