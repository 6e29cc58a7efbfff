"""A spiking layer in one pass gives what its weights, its normalisation and its neuron give one by one."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.compilers import missing
from a2sg.models.layers import SpikingLayer, TdBatchNorm, per_step
from a2sg.models.maps import AveragePool, best_format, format_of
from a2sg.models.norms import NORMS, TimeMeanBatchNorm
from a2sg.models.residual import BasicBlock
from a2sg.models.setting import Setting
from a2sg.models.synapses import synapses

T, B, INPUTS, OUTPUTS = 3, 4, 5, 6
SHAPES = {
    "dense": (T, B, INPUTS),
    "channels-last map": (T, B, INPUTS, 8, 8),
    "contiguous map": (T, B, INPUTS, 4, 4),
    "odd map": (T, B, INPUTS, 3, 5),
    "tiny map": (T, B, INPUTS, 2, 2),
    "map of a pixel": (T, B, INPUTS, 1, 1),
    "one sample, dense": (T, 1, INPUTS),
    "one sample, channels-last": (T, 1, INPUTS, 8, 8),
    "one sample, contiguous": (T, 1, INPUTS, 4, 4),
}
BACKENDS = [
    "reference",
    pytest.param("compiled", marks=pytest.mark.skipif(bool(missing("cpu")), reason="no compiler")),
]


def layer(shape, norm=TdBatchNorm, neuron=a2sg.LIF, dtype=torch.float64, **options):
    torch.manual_seed(0)
    synapse = nn.Linear(INPUTS, OUTPUTS) if len(shape) == 3 else nn.Conv2d(INPUTS, OUTPUTS, 3, padding=1)
    made = SpikingLayer(synapse, neuron(T, **options), norm=norm).to(dtype)
    nn.init.normal_(made.norm.bn.weight, 1.0, 0.2)
    nn.init.normal_(made.norm.bn.bias, 0.3, 0.2)
    return made


def one_by_one(made, x):
    return made.neuron(made.norm(per_step(made.synapse, x)))


def compare(made, x, tolerance=1e-9):
    """Spikes, all gradients and the running statistics."""
    made.zero_grad()
    twin = copy.deepcopy(made)
    weights = torch.randn(T, *x.shape[1:2], OUTPUTS, *x.shape[3:], dtype=torch.float64)
    outcomes = []
    for model, run in ((made, made), (twin, lambda x: one_by_one(twin, x))):
        leaf = x.clone().requires_grad_()
        spikes = run(leaf)
        (spikes * weights).sum().backward()
        # The bias of the weights is taken off again by a batch norm: its gradient is rounding.
        grads = {n: p.grad for n, p in model.named_parameters() if n != "synapse.bias"}
        outcomes.append(
            {"spikes": spikes.detach(), "input": leaf.grad, **grads, **dict(model.named_buffers())}
        )
    assert outcomes[0].keys() == outcomes[1].keys()
    assert 0 < outcomes[0]["spikes"].mean() < 1
    for name, mine in outcomes[0].items():
        torch.testing.assert_close(mine, outcomes[1][name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_is_its_parts(shape, backend, training):
    made = layer(shape, backend=backend).train(training)
    compare(made, torch.rand(shape, dtype=torch.float64))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", [TdBatchNorm, TimeMeanBatchNorm])
def test_one_image_at_all_steps_is_normalised_once(backend, norm):
    shape = SHAPES["channels-last map"]
    images = torch.rand(1, *shape[1:], dtype=torch.float64)
    made = layer(shape, norm, backend=backend)
    twin = copy.deepcopy(made)
    seen = []
    made.synapse.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    spikes = made(images.expand(T, *shape[1:]))
    expected = one_by_one(twin, images.repeat(T, 1, 1, 1, 1))
    assert seen == [B]
    assert torch.equal(spikes, expected)
    spikes.square().sum().backward()
    expected.square().sum().backward()
    for (name, mine), other in zip(made.named_parameters(), twin.parameters(), strict=True):
        if name != "synapse.bias":
            torch.testing.assert_close(mine.grad, other.grad, msg=name)
    for mine, other in zip(made.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_mean_over_time_is_one_current_for_all_steps(backend):
    shape = SHAPES["dense"]
    compare(layer(shape, TimeMeanBatchNorm, backend=backend), torch.rand(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    "options",
    [
        {"neuron": a2sg.PLIF, "reset": "hard", "order": "scaled"},
        {"neuron": a2sg.IntegerLIF, "levels": 3},
        {"neuron": a2sg.IF, "threshold": 0.5, "window": [0.4, 0.7, 1.0]},
    ],
    ids=lambda options: options["neuron"].__name__,
)
def test_any_neuron(options):
    shape = SHAPES["contiguous map"]
    compare(layer(shape, **options), torch.rand(shape, dtype=torch.float64))


def test_a_cumulative_average_and_none_at_all():
    shape = SHAPES["dense"]
    for momentum, tracked in ((None, True), (0.1, False)):
        made = layer(shape)
        if tracked:
            made.norm.bn.momentum = momentum
        else:
            made.norm.bn.track_running_stats = False
            made.norm.bn.running_mean = made.norm.bn.running_var = made.norm.bn.num_batches_tracked = None
        for seed in range(2):
            compare(
                made, torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            )


@pytest.mark.parametrize("where", ["norm", "norm.bn", "neuron"])
def test_whoever_looks_on_sees_every_part(where):
    made = layer(SHAPES["dense"])
    seen = []
    made.get_submodule(where).register_forward_hook(lambda *_: seen.append(where))
    made(torch.rand(SHAPES["dense"], dtype=torch.float64))
    assert seen == [where]


def test_only_the_current_is_kept_for_the_backward_pass():
    shape = (T, 2, INPUTS, 16, 16)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    made = layer(shape, dtype=torch.float32)
    x = torch.rand(shape).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, 2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        spikes = made(x)
    inputs, current = x.nbytes, spikes.nbytes
    small = sum(p.nbytes for p in made.parameters()) * 8
    assert inputs + current <= sum(kept.values()) <= inputs + current + small


def test_one_value_per_channel_is_refused_as_torch_does():
    made = SpikingLayer(nn.Linear(2, 3), a2sg.LIF(1))
    with pytest.raises(InputError, match="more than one value per channel"):
        made(torch.rand(1, 1, 2))
    made.eval()(torch.rand(1, 1, 2))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [6, 7])
def test_pooling_is_that_of_torch_and_keeps_nothing(channels_last, size):
    x = torch.rand(2, 3, size, size)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    kept = []
    for options in (
        {"kernel_size": 2},
        {"kernel_size": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True},
    ):
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            pooled = AveragePool(**options)(mine)
        expected = nn.AvgPool2d(**options)(theirs)
        assert torch.equal(pooled, expected)
        weights = torch.randn_like(expected)
        (pooled * weights).sum().backward()
        (expected * weights).sum().backward()
        assert torch.equal(mine.grad, theirs.grad)
        assert format_of(mine.grad) == format_of(x)
    assert not kept


def test_large_maps_are_channels_last_on_a_cpu():
    conv = nn.Conv2d(3, 4, 1)
    assert best_format(torch.empty(1, 3, 8, 8), conv) == torch.channels_last
    assert best_format(torch.empty(1, 3, 7, 8), conv) == torch.contiguous_format

    wide = layer(SHAPES["channels-last map"])(torch.rand(SHAPES["channels-last map"], dtype=torch.float64))
    assert format_of(wide.flatten(0, 1)) == torch.channels_last


@pytest.mark.parametrize("channels", [1, 8, 15])
def test_strided_pointwise_convolutions_of_few_channels_have_right_gradients(channels):
    """In channels-last, torch's backward pass of these writes beyond its memory."""
    conv = nn.Conv2d(channels, channels, 1, stride=2)
    x = torch.randn(2, 2, channels, 112, 112).transpose(-1, -2)
    found = torch.autograd.grad(synapses(conv, x).square().sum(), conv.weight)[0]
    conv.double()
    seen = x.double().flatten(0, 1)[..., ::2, ::2]
    current = torch.einsum("oc,ncyx->noyx", conv.weight[..., 0, 0], seen) + conv.bias[:, None, None]
    wanted = torch.einsum("noyx,ncyx->oc", 2 * current, seen)
    torch.testing.assert_close(found[..., 0, 0].double(), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_keeps_potentials_in_float32(backend):
    shape = SHAPES["channels-last map"]
    made = layer(shape, dtype=torch.float32, backend=backend)
    twin = copy.deepcopy(made)
    x = torch.rand(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spikes = made(x)
        current = per_step(twin.synapse, x)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), twin.neuron(twin.norm(current.float())))
    spikes.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", ["td", "time_mean"])
@pytest.mark.parametrize("first", [True, False])
def test_a_residual_block_is_its_parts(norm, first, backend):
    torch.manual_seed(0)
    neuron = partial(a2sg.LIF, steps=T, backend=backend)
    setting = Setting(2, T, 3, (8, 8), neuron, NORMS[norm])
    block = BasicBlock(setting, INPUTS, INPUTS, 2 if first else 1, first).double()
    twin = copy.deepcopy(block)
    twin.branch.conv2.register_forward_hook(lambda *_: None)  # then every part is called
    x = (torch.rand(T, B, INPUTS, 8, 8, dtype=torch.float64) < 0.4).double()
    found = []
    for model in (block, twin):
        leaf = x.clone().requires_grad_()
        spikes = model(leaf)
        (spikes * torch.linspace(-1, 2, spikes.numel()).view_as(spikes)).sum().backward()
        grads = [p.grad for n, p in model.named_parameters() if not n.endswith("synapse.bias")]
        found.append([spikes.detach(), leaf.grad, *grads, *model.buffers()])
    assert 0 < found[0][0].mean() < 1
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
