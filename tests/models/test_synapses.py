"""Weights before a norm, against the same layers in float64 with their bias and torch's own batch norm."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

import a2sg
from a2sg.models import synapses as synapse_module
from a2sg.models.layers import BatchNorm, SpikingLayer, TdBatchNorm
from a2sg.models.norms import NORMS
from a2sg.models.residual import BasicBlock, ConvNorm
from a2sg.models.setting import Setting
from ranks import needs_distributed, run_ranks

T, B, CHANNELS = 3, 4, 5


def setting(norm="td"):
    return Setting(2, T, CHANNELS, (6, 6), partial(a2sg.LIF, steps=T, backend="reference"), NORMS[norm])


def dense(norm="td"):
    return SpikingLayer(nn.Linear(CHANNELS, 6), setting().neuron(), norm=NORMS[norm])


def conv(norm="td", **options):
    weights = nn.Conv2d(CHANNELS, 6, 3, padding=1, **options)
    return SpikingLayer(weights, setting().neuron(), norm=NORMS[norm])


def current(norm="td"):
    return ConvNorm(nn.Conv2d(CHANNELS, 6, 3, stride=2), NORMS[norm](6))


def first_block(norm="td"):
    return BasicBlock(setting(norm), CHANNELS, 6, 2, True)


def later_block(norm="td"):
    return BasicBlock(setting(norm), CHANNELS, CHANNELS, 1, False)


KINDS = {
    "dense": dense,
    "conv": conv,
    "reflected": partial(conv, padding_mode="reflect"),
    "current": current,
    "first block": first_block,
    "later block": later_block,
}


def made(kind="conv", norm="td", dtype=torch.float64):
    """A layer whose biases and norms do not start at 0 and 1."""
    torch.manual_seed(0)
    layer = KINDS[kind](norm)
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
        elif name.endswith("bn.weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return layer.to(dtype)


def example(kind="conv", seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (T, B, CHANNELS) if kind == "dense" else (T, B, CHANNELS, 6, 6)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


class ByHand(nn.Module):
    """The same layer of torch's own modules, one by one, the bias included; shares no code with it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        layer = self.layer
        if isinstance(layer, BasicBlock):
            first, second = layer.branch.conv1, layer.branch.conv2
            branch = self.normed(second, first.neuron(self.normed(first, x)))
            shortcut = self.normed(layer.shortcut, x) if isinstance(layer.shortcut, ConvNorm) else x
            return layer.neuron(branch + shortcut)
        normed = self.normed(layer, x)
        return layer.neuron(normed) if isinstance(layer, SpikingLayer) else normed

    def normed(self, layer, x):
        """Weights, then batch norm in PyTorch's functional form."""
        flat, bn = x.flatten(0, 1), layer.norm.bn
        weights = layer.synapse
        if isinstance(weights, nn.Linear):
            flat = F.linear(flat, weights.weight, weights.bias)
        else:
            flat = weights._conv_forward(flat, weights.weight, weights.bias)
        flat = flat.unflatten(0, x.shape[:2])
        if type(layer.norm) is NORMS["time_mean"]:
            flat = flat.mean(0, keepdim=True)
        running = bn.running_mean, bn.running_var
        if self.training and not bn.track_running_stats:
            running = None, None
        every = F.batch_norm(flat.flatten(0, 1), *running, bn.weight, bn.bias, bn.training, bn.momentum)
        return every.unflatten(0, flat.shape[:2]).expand(T, *[-1] * (x.dim() - 1))


def weight_biases(layer):
    """The biases of the weights, and not of the norms."""
    return {name: p for name, p in layer.named_parameters() if name.endswith("synapse.bias")}


class Seen(TorchFunctionMode):
    """Remembers whether convolutions and products got a bias."""

    def __init__(self):
        super().__init__()
        self.biased = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.conv2d, F.linear):
            self.biased.append((args[2] if len(args) > 2 else (kwargs or {}).get("bias")) is not None)
        return func(*args, **(kwargs or {}))


def biased(layer, x):
    """Whether any weights of `layer` are applied with their bias; all or none."""
    with Seen() as seen:
        layer(x)
    assert seen.biased
    assert len(set(seen.biased)) == 1
    return seen.biased[0]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_training_and_then_evaluation_are_those_with_the_bias(kind, norm):
    layer = made(kind, norm)
    twin = ByHand(copy.deepcopy(layer))
    assert not biased(copy.deepcopy(layer), example(kind))
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) for model in (layer, twin)]
    for step in range(4):
        results = []
        for model, optimizer in zip((layer, twin), optimizers, strict=True):
            x = example(kind, step).requires_grad_()
            output = model(x)
            optimizer.zero_grad()
            (output * torch.linspace(-1, 2, output.numel(), dtype=x.dtype).view_as(output)).sum().backward()
            results.append((output.detach(), x.grad))
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
        for (name, mine), other in zip(layer.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-9, atol=1e-9, msg=name)
        for bias in weight_biases(layer).values():
            assert torch.equal(bias.grad, torch.zeros_like(bias))
        for mine, other in zip(layer.buffers(), twin.buffers(), strict=True):
            if mine.is_floating_point():  # `F.batch_norm` does not count batches
                torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
        for optimizer in optimizers:
            optimizer.step()
    layer.eval(), twin.eval()
    assert biased(layer, example(kind))
    torch.testing.assert_close(layer(example(kind, 9)), twin(example(kind, 9)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_one_image_at_all_steps(norm):
    layer = made("conv", norm)
    twin = ByHand(copy.deepcopy(layer))
    x = example()[:1].expand(T, -1, -1, -1, -1)
    torch.testing.assert_close(layer(x), twin(x))
    torch.testing.assert_close(layer.norm.bn.running_mean, twin.layer.norm.bn.running_mean)


def test_a_frozen_norm_needs_the_bias():
    layer = made()
    layer.norm.eval()
    twin = ByHand(copy.deepcopy(layer))
    assert biased(layer, example())
    outputs = [model(example()) for model in (layer, twin)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert layer.synapse.bias.grad.abs().max() > 0
    torch.testing.assert_close(layer.synapse.bias.grad, twin.layer.synapse.bias.grad)


def test_running_statistics_that_are_not_kept_and_a_cumulative_mean():
    layer = made()
    layer.norm.bn.track_running_stats = False
    before = layer.norm.bn.running_mean.clone()
    assert not biased(layer, example())
    assert torch.equal(layer.norm.bn.running_mean, before)

    layer = made()
    layer.norm.bn.momentum = None
    means = []
    for seed in range(3):
        layer(example(seed=seed))
        means.append(layer.synapse(example(seed=seed).flatten(0, 1)).mean((0, 2, 3)))
    torch.testing.assert_close(layer.norm.bn.running_mean, torch.stack(means).mean(0))


def test_two_forward_passes_before_a_backward_pass():
    for kind in ("conv", "current"):
        layer = made(kind)
        (layer(example(kind, 1)).sum() + layer(example(kind, 2)).sum()).backward()
        for bias in weight_biases(layer).values():
            assert torch.equal(bias.grad, torch.zeros_like(bias))


def test_a_frozen_bias_stays_without_a_gradient():
    layer = made()
    layer.synapse.bias.requires_grad_(False)
    layer(example()).sum().backward()
    assert layer.synapse.bias.grad is None
    assert layer.synapse.weight.grad is not None


def test_the_gradient_can_be_differentiated_again():
    layer = made("current")
    parameters = list(layer.parameters())
    first = torch.autograd.grad(layer(example()).pow(3).sum(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(grad.square().sum() for grad in first), parameters)
    twin = ByHand(copy.deepcopy(layer))
    same = list(twin.parameters())
    first = torch.autograd.grad(twin(example()).pow(3).sum(), same, create_graph=True)
    wanted = torch.autograd.grad(sum(grad.square().sum() for grad in first), same)
    scale = max(grad.abs().max() for grad in wanted)
    torch.testing.assert_close(second, wanted, rtol=1e-9, atol=1e-12 * float(scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_and_large_biases(dtype):
    """A bias of a thousand costs no precision, as nothing is added that is then subtracted."""
    layer = made("current", dtype=torch.float32)
    nn.init.constant_(layer.synapse.bias, 1000.0)
    twin = ByHand(copy.deepcopy(layer).double())
    x = example("current").float()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        output = layer(x)
    output.float().square().sum().backward()
    assert layer.synapse.bias.grad.dtype == torch.float32
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(output.double(), twin(x.double()), rtol=tolerance, atol=tolerance)
    running, wanted = layer.norm.bn.running_mean, twin.layer.norm.bn.running_mean
    torch.testing.assert_close(running.double(), wanted, rtol=1e-5, atol=1e-2)


class OwnConv(nn.Conv2d):
    pass


class OwnNorm(TdBatchNorm):
    def forward(self, x):
        return super().forward(x) + x.mean()


class OwnBatchNorm(BatchNorm):
    pass


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def own_conv(layer):
    layer.synapse = OwnConv(CHANNELS, 6, 3, padding=1).double()


def own_norm(layer):
    layer.norm = OwnNorm(6).double()


def own_batch_norm(layer):
    layer.norm.bn = OwnBatchNorm(6).double()


def torch_batch_norm(layer):
    layer.norm.bn = nn.BatchNorm2d(6).double()


def parametrized(layer):
    parametrize.register_parametrization(layer.synapse, "weight", Halved())


def replaced(layer):
    layer.synapse.forward = partial(nn.Conv2d.forward, layer.synapse)


@pytest.mark.parametrize(
    "change", [own_conv, own_norm, own_batch_norm, torch_batch_norm, parametrized, replaced]
)
def test_other_weights_and_norms_keep_the_bias(change):
    layer = made()
    change(layer)
    assert biased(layer, example())
    layer(example()).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_a_norm_may_be_folded_away():
    layer = made("current")
    wanted = layer.synapse(example().flatten(0, 1)).unflatten(0, (T, B))
    layer.norm = nn.Identity()
    assert torch.equal(layer(example()), wanted)


def test_whoever_looks_on_sees_the_bias():
    """A hook on the weights gets their output, and one on a norm its input, with the bias in it."""
    with_bias = made().synapse(example().flatten(0, 1))
    for where, value in (
        ("synapse", lambda inputs, output: output),
        ("norm", lambda inputs, output: inputs[0].flatten(0, 1)),
        ("norm.bn", lambda inputs, output: inputs[0]),
    ):
        layer, seen = made(), []
        module = layer.get_submodule(where)
        module.register_forward_hook(
            lambda _, inputs, output, value=value, seen=seen: seen.append(value(inputs, output))
        )
        layer(example())
        torch.testing.assert_close(seen[0], with_bias)


def test_hooks_of_every_kind_see_the_weights():
    for register in (
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ):
        layer, seen = made(), []
        getattr(layer.synapse, register)(lambda *_, seen=seen: seen.append(1))
        layer(example().requires_grad_()).sum().backward()
        assert seen
    layer, seen = made(), []
    handle = register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        layer(example())
    finally:
        handle.remove()
    assert layer.synapse in seen


@pytest.mark.parametrize("kind", ["conv", "first block"])
def test_inside_torch_compile(kind):
    layer = made(kind)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    outputs = [model(example(kind)) for model in (compiled, twin)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    torch.testing.assert_close(list(layer.buffers()), list(twin.buffers()))


def work(rank):
    """A layer with the statistics of all ranks, inside torch's own data parallelism."""
    layer = made("conv", "sync")
    parallel = nn.parallel.DistributedDataParallel(layer)
    for seed in range(2):
        parallel(example(seed=seed)[:, 2 * rank : 2 * rank + 2]).square().sum().backward()
    return {name: p.grad for name, p in layer.named_parameters()}, list(layer.buffers())


@needs_distributed
def test_every_bias_has_a_gradient_on_every_rank(tmp_path):
    layer = made("conv", "sync")
    for seed in range(2):
        layer(example(seed=seed)).square().sum().backward()
    for grads, buffers in run_ranks(work, tmp_path, 2):
        assert all(grad is not None for grad in grads.values())
        for name, parameter in layer.named_parameters():
            # Torch takes the mean over the ranks.
            torch.testing.assert_close(grads[name] * 2, parameter.grad, rtol=1e-9, atol=1e-9, msg=name)
        torch.testing.assert_close(buffers, list(layer.buffers()))


def test_a_global_hook_is_seen_with_every_torch():
    assert not synapse_module._any_global_hook()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert synapse_module._any_global_hook()
    finally:
        handle.remove()
    assert not synapse_module._any_global_hook()
