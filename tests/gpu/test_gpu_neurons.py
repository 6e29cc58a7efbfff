"""Neurons on a card against a float64 loop on the CPU: spikes to the bit, gradients to rounding."""

import copy
import itertools

import pytest
import torch
from torch import nn

import a2sg
from a2sg.kernels.backends import BACKENDS
from a2sg.models.layers import TdBatchNorm
from neurons import Setting, check_against_the_plain_loop

FLOAT32, FLOAT64 = torch.float32, torch.float64
SETTINGS = [
    Setting("lif", "soft", False, "field", 4, dtype=FLOAT32),
    Setting("lif", "soft", True, "scaled", 1, "boxcar", dtype=FLOAT32),
    Setting("lif", "hard", False, "field", 4, "triangle-unit", dtype=FLOAT32),
    Setting("lif", "hard", True, "scaled", 3, "dspike", threshold=0.5, dtype=FLOAT32),
    Setting("lif", "soft", False, "field", 40, dtype=FLOAT32, decay=0.5),
    Setting("if", "soft", False, "field", 4, "arctan", dtype=FLOAT32),
    Setting("plif", "hard", False, "field", 4, "pinned", dtype=FLOAT32),
    Setting("plif", "soft", False, "scaled", 2, "sigmoid", dtype=FLOAT32),
    Setting("integer", "soft", False, "field", 2, "fast-unit", dtype=FLOAT32),
    Setting("integer", "soft", False, "field", 4, "boxcar", dtype=FLOAT32),
    Setting("lif", "soft", False, "field", 4, dtype=torch.bfloat16),
    Setting("lif", "hard", False, "field", 4, dtype=torch.float16),
    Setting("plif", "soft", False, "field", 4),
]
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: (
        x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    ),
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
}
SHAPE = (2, 4, 3, 5)
"""A step `[B, C, H, W]`."""


def computable(device):
    """Backends but `auto`, which comes to one of them."""
    return [name for name in BACKENDS if name != "auto" and (name != "triton" or device.type == "cuda")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_spikes_and_gradients_on_every_backend(setting, layout, device):
    for backend in computable(device):
        check_against_the_plain_loop(setting, SHAPE, device=device, backend=backend, arrange=LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["layer", "channel"])
def test_trained_constants_on_every_backend(form, layout, device):
    """Against the reference on the CPU, in float64, which has a plain loop to compare with."""
    generator = torch.Generator().manual_seed(5)
    size = () if form == "layer" else (SHAPE[1],)
    neuron = a2sg.LIF(
        4,
        threshold=nn.Parameter(0.7 + torch.rand(size, generator=generator)),
        decay=nn.Parameter(0.5 + 0.4 * torch.rand(size, generator=generator)),
    ).double()
    x, weights = torch.randn(2, 4, *SHAPE, dtype=FLOAT64, generator=generator)
    found = []
    for backend, place in (("reference", "cpu"), *((backend, device) for backend in computable(device))):
        there = copy.deepcopy(neuron).to(place)
        there.backend = backend
        given = LAYOUTS[layout](x.to(place)).detach().requires_grad_()
        spikes = there(given)
        (spikes * weights.to(place)).sum().backward()
        grads = given.grad, there.threshold.grad, there.decay.grad
        found.append([spikes.detach().cpu(), *(grad.cpu() for grad in grads)])
    for other in found[1:]:
        assert torch.equal(other[0], found[0][0])
        for grad, expected in zip(other[1:], found[0][1:], strict=True):
            torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("training", [True, False])
def test_norm_shortcut_and_neuron_in_one_pass(training, steps, device):
    """`TdBatchNorm.fire` against one layer after the other on the CPU, both in float64."""
    generator = torch.Generator().manual_seed(steps)
    x, shortcut, weights = torch.randn(3, steps, 3, 5, 4, 4, dtype=FLOAT64, generator=generator)
    norm, neuron = TdBatchNorm(5).double().train(training), a2sg.LIF(steps, backend="reference")
    nn.init.uniform_(norm.bn.weight, 0.5, 1.5, generator=generator)
    apart = copy.deepcopy(norm)
    wanted = x.clone().requires_grad_()
    spikes = neuron(apart(wanted) + shortcut)
    spikes.backward(weights)
    for backend in computable(device):
        fused = copy.deepcopy(norm).to(device)
        mine = x.to(device, copy=True).requires_grad_()
        folded, once = mine.flatten(0, 1), a2sg.LIF(steps, backend=backend).to(device)
        fired = fused.fire(folded, x.shape[:2], once, shortcut.to(device))
        fired.backward(weights.to(device))
        assert torch.equal(fired.detach().cpu(), spikes.detach())
        torch.testing.assert_close(mine.grad.cpu(), wanted.grad, rtol=1e-9, atol=1e-12)
        for a, b in zip(fused.parameters(), apart.parameters(), strict=True):
            torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-9, atol=1e-9)
        for a, b in zip(fused.buffers(), apart.buffers(), strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-12)


def test_streaming_step_by_step_is_the_whole(device):
    torch.manual_seed(0)
    current = 0.4 + torch.randn(6, 3, 50, device=device)
    for backend in computable(device):
        neuron = a2sg.LIF(6, backend=backend).to(device)
        state, spikes = None, []
        for step in current:
            fired, state = neuron.step(step, state)
            spikes.append(fired)
        assert torch.equal(torch.stack(spikes), neuron(current))


def test_the_backend_may_change_between_forward_passes(device):
    """Gradients of one forward pass come from the backend that computed it."""
    torch.manual_seed(0)
    current = (0.4 + torch.randn(4, 3, 50, dtype=FLOAT64, device=device)).requires_grad_()
    found = []
    for before, after in itertools.product(computable(device), repeat=2):
        neuron = a2sg.LIF(4, backend=before).to(device)
        spikes = neuron(current)
        neuron.backend = after
        found += torch.autograd.grad(spikes.sum(), current)
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-12, atol=1e-14)
