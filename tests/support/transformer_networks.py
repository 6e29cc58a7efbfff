"""For the tests of spiking transformers: formulas written out, and what every network must do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import a2sg
from a2sg.models import create_model
from a2sg.neuron import SpikingNeuron, recording

Steps = list[Tensor]
"""A tensor for each of T steps."""
Make = Callable[..., nn.Module]
Options = Mapping[str, Any]

STAGES: Options = {"dims": (4, 8, 16, 24), "depths": (1, 1), "heads": 2}
TINY: dict[str, Options] = {
    "spikformer_4_384": {"dim": 16, "depth": 1, "heads": 2, "image_size": 8},
    "spikformer_2_256": {"dim": 16, "depth": 1, "heads": 2, "image_size": 32},
    "spikformer_8_512": {"dim": 16, "depth": 1, "heads": 2, "image_size": 32},
    "qkformer_4_384": {"dim": 32, "depth": 3, "heads": 2, "image_size": 8},
    "qkformer_2_256": {"dim": 32, "depth": 2, "heads": 2, "image_size": 32},
    "qkformer_10_384": {"dim": 32, "depth": 4, "heads": 2, "image_size": 32},
    "qkformer_10_512": {"dim": 32, "depth": 4, "heads": 2, "image_size": 32},
    "qkformer_10_768": {"dim": 32, "depth": 4, "heads": 2, "image_size": 32},
    **{f"espikeformer_{size}": {**STAGES, "image_size": 32} for size in "tsml"},
    **{f"espikeformer_{size}_fpn": {**STAGES, "width": 8, "image_size": 32} for size in "tsml"},
}
"""Every network, small; the image size gives 2x2 tokens."""


def tiny(name: str, **options: Any) -> nn.Module:
    return create_model(name, **{"num_classes": 3, "in_channels": 2, "steps": 2, **TINY[name], **options})


def images(model_options: Options, batch: int = 4) -> Tensor:
    size = model_options["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, 2, height, width)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def neurons(model: nn.Module) -> list[SpikingNeuron]:
    return [module for module in model.modules() if isinstance(module, SpikingNeuron)]


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """The model in evaluation mode, with the statistics of a batch `x`."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def stirred(model: nn.Module) -> nn.Module:
    """The model in float64 with norms and biases away from where they start, so that each matters."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias, 0.5, 0.3)
        elif isinstance(bias := getattr(module, "bias", None), Tensor):
            nn.init.normal_(bias)
    return model.double()


class ByHand:
    """The layers of a model in training mode, on lists of T tensors `[B, C, H, W]`, one formula at a time."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = dict(model.named_parameters())

    def current(self, x: Steps, name: str, stride: int = 1, groups: int = 1) -> Steps:
        weight, bias = self.weights[f"{name}.synapse.weight"], self.weights.get(f"{name}.synapse.bias")
        x = [F.conv2d(step, weight, bias, stride, weight.shape[-1] // 2, groups=groups) for step in x]
        everything = torch.stack(x)
        mean = everything.mean((0, 1, 3, 4), keepdim=True)
        variance = ((everything - mean) ** 2).mean((0, 1, 3, 4), keepdim=True)
        scale, shift = (self.weights[f"{name}.norm.bn.{what}"].view(-1, 1, 1) for what in ("weight", "bias"))
        return list((everything - mean) / (variance + 1e-5).sqrt() * scale + shift)

    def layer(self, x: Steps, name: str, stride: int = 1, groups: int = 1, pooled: bool = False) -> Steps:
        x = self.current(x, name, stride, groups)
        return lif([halved(step) for step in x] if pooled else x)


def lif(current: Steps, threshold: float = 1.0) -> Steps:
    potential = torch.zeros_like(current[0])
    spikes: Steps = []
    for step in current:
        potential = 0.9 * potential + step
        spikes.append((potential >= threshold).to(step.dtype))
        potential = potential - threshold * spikes[-1]
    return spikes


def integer(current: Steps, levels: int = 4) -> Steps:
    potential = torch.zeros_like(current[0])
    spikes: Steps = []
    for step in current:
        potential = 0.9 * potential + step
        count = torch.floor(potential + 0.5).clamp(0, levels)
        spikes.append(count / levels)
        potential = potential - count
    return spikes


def halved(x: Tensor) -> Tensor:
    """Max pool 3/2 by looking at every window."""
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    rows, columns = (range(0, side, 2) for side in x.shape[-2:])
    return torch.stack(
        [torch.stack([padded[..., r : r + 3, c : c + 3].amax((-2, -1)) for c in columns], -1) for r in rows],
        -2,
    )


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    """(q kᵀ) v · scale of `[B, C, H, W]`, pair of tokens by pair of tokens."""
    result = torch.zeros_like(value)
    q, k, v, out = (x.flatten(2) for x in (query, key, value, result))
    for image in range(len(q)):
        for head in range(heads):
            mine = slice(head * q.shape[1] // heads, (head + 1) * q.shape[1] // heads)
            into = slice(head * v.shape[1] // heads, (head + 1) * v.shape[1] // heads)
            for i in range(q.shape[2]):
                for j in range(q.shape[2]):
                    weight = scale * (q[image, mine, i] @ k[image, mine, j])
                    out[image, into, i] += weight * v[image, into, j]
    return result


def added(a: Steps, b: Steps) -> Steps:
    return [x + y for x, y in zip(a, b, strict=True)]


# What every network must do; each takes a function that makes it small.


def takes_an_image_or_its_repetition(make: Make, options: Options) -> None:
    model, x = make(), images(options)
    settled(model, images(options, 16))
    assert not torch.equal(model(x), model(0.5 * x))
    assert torch.equal(model(x), model(x.repeat(2, 1, 1, 1, 1)))


def tells_the_order_of_frames(make: Make, options: Options) -> None:
    model = make()
    frames = torch.stack([images(options), images(options)])
    assert not torch.equal(model(frames), model(frames.flip(0)))


def learns_in_every_layer(make: Make, options: Options) -> None:
    # Nowhere 0: no weight is left out because a neuron is far off, or because a branch starts at 0.
    # Only a bias before a norm, which subtracts it again, has none.
    model = stirred(make(surrogate="sigmoid"))
    model(images(options, 16).double()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad.abs().sum() > 0) != name.endswith("synapse.bias"), name


def adapts_its_windows(make: Make, options: Options) -> None:
    model = stirred(make(surrogate="asymmetric", window=1.0))  # branches that start at 0 get no gradient yet
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    model(images(options, 8).double()).square().mean().backward()
    windows.step()
    assert len(windows.sites) == len(neurons(model))
    kept = [row["kept"] for row in windows.history]
    assert kept.count("") > len(kept) / 2
    assert sum((neuron.window != 1).any().item() for neuron in neurons(model)) > len(neurons(model)) / 2


def survives_a_round_trip(make: Make, options: Options) -> None:
    model, x = make(), images(options)
    for neuron in neurons(model):
        neuron.window.uniform_(0.2, 0.9)
    settled(model, images(options, 16))
    twin = make().eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))
    assert all(torch.equal(a.window, b.window) for a, b in zip(neurons(model), neurons(twin), strict=True))


def runs_in_bfloat16(make: Make, options: Options) -> None:
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images(options, 8))
        loss = logits.float().square().mean()
    loss.backward()
    assert logits.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def fires_in_most_layers(make: Make, options: Options) -> None:
    model = make()
    with recording(model) as records, torch.no_grad():
        model(images(options, 8))
    rates = [record.spikes.mean().item() for (record,) in records.values()]
    assert sum(rate > 0 for rate in rates) > len(rates) / 2


def trains_the_same_compiled(make: Make, options: Options) -> None:
    torch.manual_seed(0)
    model, x = make().double(), images(options).double()
    twin = copy.deepcopy(model)
    logits, others = model(x), torch.compile(twin)(x)
    torch.testing.assert_close(others, logits)
    logits.square().sum().backward()
    others.square().sum().backward()
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, mine.grad, msg=name)


DUTIES = (
    takes_an_image_or_its_repetition,
    tells_the_order_of_frames,
    learns_in_every_layer,
    adapts_its_windows,
    survives_a_round_trip,
    runs_in_bfloat16,
    fires_in_most_layers,
)
