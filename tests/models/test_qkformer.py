"""QKFormer: published sizes, and every layer against its formula."""

import pytest
import torch
import torch.nn.functional as F

import transformer_networks as transformers
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.neuron import recording
from transformer_networks import TINY, ByHand, added, attention, images, lif, parameters, stirred, tiny

NAMES = ("qkformer_4_384", "qkformer_2_256", "qkformer_10_384", "qkformer_10_512", "qkformer_10_768")


@pytest.mark.parametrize(
    ("name", "classes", "channels", "size", "millions"),
    [
        ("qkformer_4_384", 100, 3, 32, 6.74),
        ("qkformer_2_256", 10, 2, 128, 1.50),
        ("qkformer_10_384", 1000, 3, 224, 16.47),
        ("qkformer_10_512", 1000, 3, 224, 29.08),
        ("qkformer_10_768", 1000, 3, 224, 64.96),
    ],
)
def test_parameter_counts_are_the_published_ones(name, classes, channels, size, millions):
    model = create_model(name, num_classes=classes, in_channels=channels, image_size=size)
    assert round(parameters(model) / 1e6, 2) == millions


@pytest.mark.parametrize("name", NAMES)
def test_every_qkformer_gives_logits(name):
    assert tiny(name)(images(TINY[name])).shape == (2, 4, 3)


@pytest.mark.parametrize("name", ["qkformer_4_384", "qkformer_2_256", "qkformer_10_384"])
@pytest.mark.parametrize("duty", transformers.DUTIES)
def test_it_does_what_every_network_must(duty, name):
    torch.manual_seed(0)
    duty(lambda **options: tiny(name, **options), TINY[name])


def embedding(hand, x, name, stride, first_pooled, last_pooled):
    y = hand.layer(x, f"{name}.branch.0", pooled=first_pooled)
    if f"{name}.branch.1.synapse.weight" in hand.weights:
        y = hand.layer(y, f"{name}.branch.1", pooled=last_pooled)
    return added(y, hand.layer(x, f"{name}.shortcut", stride))


def block(hand, x, name, heads):
    q, k = (hand.layer(x, f"{name}.attention.{part}") for part in ("query", "key"))
    if f"{name}.attention.value.synapse.weight" in hand.weights:
        v = hand.layer(x, f"{name}.attention.value")
        mixed = lif([attention(*step, heads, 0.125) for step in zip(q, k, v, strict=True)], 0.5)
    else:  # a head passes its k where the sum of its q fires
        sums = [torch.stack([part.sum(1) for part in step.chunk(heads, 1)], 1) for step in q]
        gates = lif(sums, 0.5)
        mixed = [g.repeat_interleave(x.shape[1] // heads, 1) * x for g, x in zip(gates, k, strict=True)]
    x = added(x, hand.layer(mixed, f"{name}.attention.projection"))
    return added(x, hand.layer(hand.layer(x, f"{name}.mlp.hidden"), f"{name}.mlp.output"))


def cifar(hand, x):
    x = embedding(hand, hand.layer(x, "embed1.0"), "embed1.1", 1, False, False)
    x = block(hand, x, "stage1.0", 2)
    x = block(hand, embedding(hand, x, "embed2", 2, False, True), "stage2.0", 2)
    return block(hand, embedding(hand, x, "embed3", 2, False, True), "stage3.0", 2)


def events(hand, x):
    x = hand.layer(hand.layer(x, "embed1.0"), "embed1.1", pooled=True)
    x = block(hand, embedding(hand, x, "embed1.2", 4, True, True), "stage1.0", 2)
    return block(hand, embedding(hand, x, "embed2", 2, False, True), "stage2.0", 2)


def imagenet(hand, x):
    x = hand.layer(x, "embed1.0", pooled=True)
    x = block(hand, embedding(hand, x, "embed1.1", 2, True, False), "stage1.0", 2)
    x = embedding(hand, x, "embed2", 2, True, False)
    x = block(hand, block(hand, x, "stage2.0", 2), "stage2.1", 2)
    return block(hand, embedding(hand, x, "embed3", 2, True, False), "stage3.0", 2)


@pytest.mark.parametrize(
    ("name", "stages"),
    [("qkformer_4_384", cifar), ("qkformer_2_256", events), ("qkformer_10_384", imagenet)],
)
def test_it_is_what_its_paper_says(name, stages):
    torch.manual_seed(0)
    model = stirred(tiny(name, steps=3))
    frames = torch.stack([images(TINY[name], 2) for _ in range(3)]).double()
    with recording(model) as records:
        logits = model(frames)
    hand = ByHand(model)
    weight, bias = (hand.weights[f"head.layer.{part}"] for part in ("weight", "bias"))
    expected = [F.linear(step.mean((2, 3)), weight, bias) for step in stages(hand, list(frames))]
    torch.testing.assert_close(logits, torch.stack(expected))
    assert all(record.spikes.any() for (record,) in records.values())


@pytest.mark.parametrize("size", [(16, 24), (19, 17)])
def test_sizes_need_not_be_multiples(size):
    options = {"image_size": size}
    for name in NAMES:
        assert tiny(name, **options)(images(options)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qkformer_4_384", {"dim": 36}, "dim must be a multiple of 8, not 36"),
        ("qkformer_2_256", {"dim": 24}, "dim must be a multiple of 16, not 24"),
        ("qkformer_4_384", {"heads": 16}, "8 channels cannot be divided into heads=16"),
        ("qkformer_4_384", {"depth": 2}, "depth must be a whole number of at least 3, not 2"),
        ("qkformer_10_384", {"depth": 3}, "depth must be a whole number of at least 4, not 3"),
        ("qkformer_2_256", {"ratio": 0}, "ratio must be a whole number of at least 1, not 0"),
        ("qkformer_10_512", {"image_size": 15}, "image_size must be at least 16 .* not 15"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(name, options, message):
    with pytest.raises(InputError, match=message) as told:
        tiny(name, **options)
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_it_compiles():
    transformers.trains_the_same_compiled(lambda: tiny("qkformer_4_384"), TINY["qkformer_4_384"])
