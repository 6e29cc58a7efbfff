"""Spiking ResNets: against a plain loop in float64, published sizes, and that windows adapt in them."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import a2sg
from a2sg.analysis import measure
from a2sg.bench import networks, peers, train
from a2sg.bench.options import Options
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.layers import TdBatchNorm
from a2sg.neuron import SpikingNeuron

FOUR = (64, 128, 256, 512)
# Channels, blocks, width of the dense layer.
TABLES = {
    "resnet18": (FOUR, (2, 2, 2, 2), 0),
    "resnet19": ((128, 256, 512), (3, 3, 2), 256),
    "resnet20": ((64, 128, 256), (3, 3, 3), 0),
    "resnet34": (FOUR, (3, 4, 6, 3), 0),
    "sew_resnet18": (FOUR, (2, 2, 2, 2), 0),
    "sew_resnet34": (FOUR, (3, 4, 6, 3), 0),
    "ms_resnet18": (FOUR, (2, 2, 2, 2), 0),
    "ms_resnet19": ((128, 256, 512), (3, 3, 2), 256),
    "ms_resnet34": (FOUR, (3, 4, 6, 3), 0),
}
NAMES = tuple(TABLES)
SMALL = ("resnet19", "sew_resnet18", "ms_resnet18")
"""One of each kind."""


def kind_of(name):
    return name.split("_")[0] if "_" in name else "basic"


def plan(name, large=False):
    """Every block: its name, channels in and out, stride, and whether its shortcut has weights."""
    kind, (channels, blocks, _) = kind_of(name), TABLES[name]
    inputs = channels[0]
    for stage, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
        for block in range(count):
            stride = 2 if block == 0 and (stage > 0 or (kind == "ms" and large)) else 1
            weighted = block == 0 if kind == "basic" else stride != 1 or inputs != outputs
            yield f"stage{stage + 1}.block{block + 1}", inputs, outputs, stride, weighted
            inputs = outputs


def tiny(name, **options):
    return create_model(
        name, **{"num_classes": 3, "in_channels": 2, "image_size": 8, "width": 1 / 32, **options}
    )


def neurons(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, SpikingNeuron)}


def stir(model):
    """Other norms than at the start, so that each matters."""
    for module in model.modules():
        if isinstance(module, TdBatchNorm):
            nn.init.uniform_(module.bn.weight, 0.5, 2.0)
            nn.init.normal_(module.bn.bias, 0.3)
    return model


def count(name, inputs, classes, large):
    """Parameters by arithmetic: convolutions (basic: with bias), two per channel and BN, dense layers."""
    bias = kind_of(name) == "basic"
    channels, _, dense = TABLES[name]

    def conv_bn(i, o, k):
        return i * o * k * k + o * bias + 2 * o

    total = conv_bn(inputs, channels[0], 7 if large else 3)
    for _, i, o, _, weighted in plan(name, large):
        total += conv_bn(i, o, 3) + conv_bn(o, o, 3) + (conv_bn(i, o, 1) if weighted else 0)
    features = channels[-1]
    if dense:
        total += features * dense + dense
        features = dense
    return total + features * classes + classes


@pytest.mark.parametrize(
    ("name", "size", "classes", "published"),
    [
        ("resnet18", 32, 10, "11.2"),
        ("resnet19", 32, 10, "12.72"),
        ("resnet20", 32, 10, "4.34"),
        ("sew_resnet18", 224, 1000, "11.69"),
        # 21,797,672: published as 21.79, with the rest cut off.
        ("sew_resnet34", 224, 1000, "21.80"),
        ("ms_resnet18", 224, 1000, "11.69"),
        ("ms_resnet34", 224, 1000, "21.80"),
        # No published counts are known to us.
        ("resnet34", 32, 10, None),
        ("resnet34", 224, 1000, None),
        ("ms_resnet19", 32, 10, None),
    ],
)
def test_parameter_counts_are_the_published_ones(name, size, classes, published):
    model = create_model(name, num_classes=classes, image_size=size)
    found = sum(p.numel() for p in model.parameters())
    assert found == count(name, 3, classes, large=size >= 128)
    if published:
        assert f"{found / 1e6:.{len(published.partition('.')[2])}f}" == published


def by_hand(name, model, images, large=False):
    """The network in training mode, one step and one formula at a time."""
    kind, dense = kind_of(name), TABLES[name][2]
    weights = dict(model.named_parameters())

    def conv_bn(x, layer, stride):
        weight, bias = weights[f"{layer}.synapse.weight"], weights.get(f"{layer}.synapse.bias")
        currents = torch.stack([F.conv2d(s, weight, bias, stride, weight.shape[-1] // 2) for s in x])
        mean = currents.mean((0, 1, 3, 4), keepdim=True)
        variance = ((currents - mean) ** 2).mean((0, 1, 3, 4), keepdim=True)
        scale, shift = (weights[f"{layer}.norm.bn.{part}"].view(-1, 1, 1) for part in ("weight", "bias"))
        return (currents - mean) / (variance + 1e-5).sqrt() * scale + shift

    def lif(currents):
        potential, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            potential = 0.9 * potential + current
            spikes.append((potential >= 1).to(potential.dtype))
            potential = potential - spikes[-1]
        return torch.stack(spikes)

    x = conv_bn(images, "stem", 2 if large else 1)
    if kind != "ms":
        x = lif(x)
        if large:
            x = torch.stack([F.max_pool2d(s, 3, 2, 1) for s in x])
    for block, _, _, stride, weighted in plan(name, large):
        conv1, conv2, shortcut = f"{block}.branch.conv1", f"{block}.branch.conv2", f"{block}.shortcut"
        read = lif(x) if kind == "ms" else x
        branch = conv_bn(lif(conv_bn(read, conv1, stride)), conv2, 1)
        around = conv_bn(x, shortcut, stride) if weighted else x
        if kind == "sew":
            x = lif(branch) + (lif(around) if weighted else around)
        else:
            x = branch + around
            x = lif(x) if kind == "basic" else x
    x = lif(x) if kind == "ms" else x
    x = x.mean((3, 4))
    if dense:
        x = lif(torch.stack([F.linear(s, weights["fc.layer.weight"], weights["fc.layer.bias"]) for s in x]))
    return torch.stack([F.linear(s, weights["head.layer.weight"], weights["head.layer.bias"]) for s in x])


@pytest.mark.parametrize(
    ("name", "large"),
    [*((name, False) for name in NAMES), ("resnet18", True), ("sew_resnet18", True), ("ms_resnet18", True)],
)
def test_the_network_is_what_its_table_says(name, large):
    torch.manual_seed(0)
    stem = {"stem": "imagenet"} if large else {}
    size = 32 if large else 8
    model = stir(tiny(name, steps=3, image_size=size, **stem)).double()
    for layer in (module for module in model if hasattr(module, "layer")):
        if isinstance(layer.layer, nn.Linear):
            nn.init.normal_(layer.layer.weight, std=2.0)  # so that the dense neurons fire
    images = torch.randn(3, 4, 2, size, size, dtype=torch.float64)
    logits = model(images)
    torch.testing.assert_close(logits, by_hand(name, model, images, large))
    assert logits.std((0, 1)).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_norms_start_at_the_scale_of_the_threshold(name):
    model = tiny(name, neuron_options={"threshold": 0.8})
    starts = {"basic": (math.sqrt(0.5), math.sqrt(0.5)), "sew": (1.0, 1.0), "ms": (0.0, 1.0)}
    last, around = starts[kind_of(name)]
    for layer, module in model.named_modules():
        if isinstance(module, TdBatchNorm):
            part = layer.split(".")[-2]
            alpha = last if part == "conv2" else around if part == "shortcut" else 1.0
            torch.testing.assert_close(
                module.bn.weight.data, torch.full((module.bn.num_features,), 0.8 * alpha)
            )


@pytest.mark.parametrize("name", SMALL)
def test_synapses_read_spikes(name):
    torch.manual_seed(0)
    model = stir(tiny(name, steps=3))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    images = torch.randn(16, 2, 8, 8)
    model(images)
    energy = measure(model, images)
    for layer in energy.layers[1:-2]:  # the stem reads images, dense layers what is averaged
        if "shortcut" in layer.name and kind_of(name) == "ms":
            assert layer.quantum is None  # potentials
            assert layer.macs > 0
        else:
            assert layer.quantum == 1, layer.name
            assert layer.accumulates > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_network_adapts_and_is_saved(name):
    torch.manual_seed(0)
    model = stir(tiny(name, width=1 / 16))
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    images = torch.randn(8, 2, 8, 8)
    logits = model(images)
    assert logits.shape == (4, 8, 3)
    logits.square().sum().backward()
    for weight, parameter in model.named_parameters():
        assert parameter.grad is not None, weight
    windows.step()
    kind, (_, blocks, dense) = kind_of(name), TABLES[name]
    extra = sum(weighted for *_, weighted in plan(name)) if kind == "sew" else 0
    assert len(windows.sites) == 1 + 2 * sum(blocks) + extra + bool(dense)
    moved = [site for site, neuron in neurons(model).items() if (neuron.window != 1).any()]
    assert len(moved) > len(windows.sites) / 2
    other = tiny(name, width=1 / 16)
    other.load_state_dict(model.state_dict())
    events = images.expand(4, *images.shape)
    assert torch.equal(other.eval()(events), model.eval()(images))


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    model = stir(tiny(name, width=1 / 8))
    model(torch.randn(16, 2, 8, 8)).square().sum().backward()
    for weight, parameter in model.named_parameters():
        # A norm subtracts the bias before it again, so that has a gradient of 0.
        assert (parameter.grad.abs().sum() > 0) != weight.endswith("synapse.bias"), weight


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision(name):
    torch.manual_seed(0)
    model = stir(tiny(name))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(4, 2, 8, 8))
        loss = logits.float().square().mean()
    loss.backward()
    assert logits.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_compiled_network_is_the_same(name):
    torch.manual_seed(0)
    model = stir(tiny(name, steps=2)).double()
    images = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    found = []
    for run in (model, torch.compile(model)):
        model.zero_grad()
        logits = run(images)
        logits.square().sum().backward()
        found.append((logits.detach(), *(p.grad for p in model.parameters())))
    for mine, compiled in zip(*found, strict=True):
        # A bias before a norm has the gradient 0, up to rounding.
        torch.testing.assert_close(compiled, mine, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "size", "stem", "shape"),
    [
        ("resnet18", 64, "auto", (64, 64)),
        ("resnet18", 128, "auto", (32, 32)),
        ("resnet18", 128, "cifar", (128, 128)),
        ("sew_resnet34", 33, "imagenet", (9, 9)),
        ("resnet34", (40, 24), "auto", (40, 24)),
        ("resnet18", (512, 64), "auto", (512, 64)),
        ("ms_resnet18", (160, 128), "auto", (40, 32)),
    ],
)
@torch.no_grad()
def test_the_stem_suits_the_image(name, size, stem, shape):
    model = tiny(name, image_size=size, stem=stem, steps=1, width=1 / 64)
    seen = []
    model.stage1.register_forward_hook(lambda _, inputs, output: seen.append(output.shape[-2:]))
    height, width = (size, size) if isinstance(size, int) else size
    assert model(torch.randn(2, 2, height, width)).shape == (1, 2, 3)
    assert seen == [shape]


@pytest.mark.parametrize("size", [1, 2, 7, 33])
@torch.no_grad()
def test_every_image_size_works(size):
    for name in SMALL:
        assert tiny(name, image_size=size)(torch.randn(3, 2, size, size)).shape == (4, 3, 3)


@pytest.mark.parametrize("neuron", ["plif", "integer_lif"])
@pytest.mark.parametrize("name", SMALL)
def test_other_neurons_fit(name, neuron):
    model = tiny(name, neuron=neuron, steps=2)
    assert model(torch.randn(2, 2, 8, 8)).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "imagenette"}, r"unknown stem 'imagenette' \(did you mean 'imagenet'"),
        ({"width": -1}, "width must be a number above 0, not -1"),
        ({"name": "resnet19", "stem": "cifar"}, "model 'resnet19' takes width, not 'stem'"),
        ({"name": "resnet91"}, "unknown model 'resnet91' .did you mean 'resnet19'"),
        ({"in_channels": 0}, "in_channels must be a whole number"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(options, message):
    with pytest.raises(InputError, match=message) as told:
        create_model(**{"name": "resnet18", **options})
    assert "\n" not in str(told.value)


def test_images_of_other_channels_are_told():
    with pytest.raises(InputError, match="in_channels=2, but the images have 3"):
        tiny("ms_resnet18")(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("name", SMALL)
def test_spikingjellys_network_is_ours(name, reset):
    pytest.importorskip(peers.MODULES["spikingjelly"])
    options = Options(
        device="cpu",
        peers=("spikingjelly",),
        rounds=1,
        sample=0.0,
        steps=3,
        reset=reset,
        backends=("reference",),
        elements=(),
        dtype="float32",
        search_elements=(),
        candidates=2,
        network=name,
        width=1 / 16,
        batch=2,
        ways=(),
        memory_steps=(),
    )
    assert name in networks.NETWORKS
    assert "same logits" in train.check(options)
    with pytest.raises(RuntimeError, match="not the same function"):
        train.check(replace(options, reset="hard"), their_reset="soft")
