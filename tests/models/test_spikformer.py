"""Spikformer: published sizes, and every layer against its formula."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import transformer_networks as transformers
from a2sg.bench import networks, peers, train
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.attention import SpikeProduct
from a2sg.neuron import LIF, recording
from bench_options import OPTIONS
from transformer_networks import (
    TINY,
    ByHand,
    added,
    attention,
    halved,
    images,
    lif,
    parameters,
    stirred,
    tiny,
)

NAMES = ("spikformer_4_384", "spikformer_2_256", "spikformer_8_512")


@pytest.mark.parametrize(
    ("name", "classes", "channels", "size", "count"),
    [
        ("spikformer_4_384", 10, 3, 32, 9_320_122),  # published: 9.32 M
        ("spikformer_2_256", 10, 2, 128, 2_566_666),  # 2.57 M (2.59 M with parameters that nothing uses)
        ("spikformer_8_512", 1000, 3, 224, 29_689_384),  # 29.68 M, though the authors' code has this many
    ],
)
def test_parameter_counts(name, classes, channels, size, count):
    model = create_model(name, num_classes=classes, in_channels=channels, image_size=size)
    assert parameters(model) == count


@pytest.mark.parametrize("name", NAMES)
def test_every_spikformer_gives_logits(name):
    assert tiny(name)(images(TINY[name])).shape == (2, 4, 3)


@pytest.mark.parametrize("name", ["spikformer_4_384", "spikformer_2_256"])
@pytest.mark.parametrize("duty", transformers.DUTIES)
def test_it_does_what_every_network_must(duty, name):
    torch.manual_seed(0)
    duty(lambda **options: tiny(name, **options), TINY[name])


def by_hand(model, frames, heads, pools, scale):
    hand = ByHand(model)
    x = list(frames)
    for number in (1, 2, 3, 4):
        x = hand.layer(x, f"patches.conv{number}")
        if number in pools:
            x = [halved(step) for step in x]
    x = added(x, hand.layer(x, "patches.position.conv"))
    for number in range(len(model.blocks)):
        name = f"blocks.{number}"
        q, k, v = (hand.layer(x, f"{name}.attention.{part}") for part in ("query", "key", "value"))
        mixed = [attention(*step, heads, scale) for step in zip(q, k, v, strict=True)]
        x = added(x, hand.layer(lif(mixed, 0.5), f"{name}.attention.projection"))
        x = added(x, hand.layer(hand.layer(x, f"{name}.mlp.hidden"), f"{name}.mlp.output"))
    weight, bias = (hand.weights[f"head.layer.{part}"] for part in ("weight", "bias"))
    return torch.stack([F.linear(step.mean((2, 3)), weight, bias) for step in x])


@pytest.mark.parametrize(
    ("name", "pools", "scale"),
    [("spikformer_4_384", (3, 4), 0.125), ("spikformer_2_256", (1, 2, 3, 4), 0.25)],
)
def test_it_is_what_its_paper_says(name, pools, scale):
    torch.manual_seed(0)
    model = stirred(tiny(name, depth=2, steps=3))
    frames = torch.stack([images(TINY[name], 3) for _ in range(3)]).double()
    with recording(model) as records:
        logits = model(frames)
    torch.testing.assert_close(logits, by_hand(model, frames, 2, pools, scale))
    assert all(record.spikes.any() for (record,) in records.values())


@pytest.mark.parametrize(("tokens", "features", "values"), [(1, 8, 8), (2, 8, 8), (25, 3, 3), (9, 2, 8)])
def test_the_product_is_the_same_in_either_order(tokens, features, values):
    heads = 3
    q, k = torch.randint(0, 2, (2, 2, 3, heads * features, tokens, 1)).double()
    v = torch.randint(0, 2, (2, 3, heads * values, tokens, 1)).double()
    expected = [attention(*step, heads, 0.25) for step in zip(q, k, v, strict=True)]
    torch.testing.assert_close(SpikeProduct(heads, 0.25)(q, k, v), torch.stack(expected), rtol=0, atol=0)


def test_attention_keeps_its_threshold_and_the_others_take_the_users():
    model = tiny("spikformer_4_384", neuron_options={"threshold": 0.8})
    thresholds = {name: module.threshold for name, module in model.named_modules() if isinstance(module, LIF)}
    assert thresholds.pop("blocks.0.attention.neuron") == 0.5
    assert set(thresholds.values()) == {0.8}


def test_the_norm_of_ones_choice_is_everywhere():
    model = tiny("spikformer_4_384", norm="time_mean")
    norms = {type(module).__name__ for name, module in model.named_modules() if name.endswith(".norm")}
    assert norms == {"TimeMeanBatchNorm"}


@pytest.mark.parametrize("size", [(8, 12), 9, (7, 5)])
def test_any_size_from_a_patch_on_will_do(size):
    options = {"image_size": size}
    assert tiny("spikformer_4_384", **options)(images(options)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spikformer_4_384", {"dim": 20}, "dim must be a multiple of 8, not 20"),
        ("spikformer_4_384", {"dim": 0}, "dim must be a whole number of at least 1, not 0"),
        ("spikformer_4_384", {"heads": 3}, "16 channels cannot be divided into heads=3"),
        ("spikformer_4_384", {"heads": 0}, "heads must be a whole number of at least 1, not 0"),
        ("spikformer_4_384", {"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ("spikformer_4_384", {"image_size": 3}, "image_size must be at least 4 .* not 3"),
        ("spikformer_8_512", {"image_size": (32, 8)}, r"image_size must be at least 16 .* not \(32, 8\)"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(name, options, message):
    with pytest.raises(InputError, match=message) as told:
        tiny(name, **options)
    assert "\n" not in str(told.value)


def test_spikingjellys_network_is_ours():
    pytest.importorskip(peers.MODULES["spikingjelly"])
    options = replace(OPTIONS, network="spikformer_4_384", width=1 / 16)
    assert "same logits" in train.check(options)
    with pytest.raises(RuntimeError, match="not the same function"):
        train.check(replace(options, reset="hard"), their_reset="soft")


@pytest.mark.parametrize(("width", "dim"), [(1.0, 384), (0.5, 192), (1 / 32, 24)])
def test_the_benchs_width_is_one_that_divides(width, dim):
    assert (
        networks.NETWORKS["spikformer_4_384"].ours(replace(OPTIONS, width=width), 2).head.layer.in_features
        == dim
    )


@pytest.mark.slow
def test_it_compiles():
    transformers.trains_the_same_compiled(lambda: tiny("spikformer_4_384"), TINY["spikformer_4_384"])
