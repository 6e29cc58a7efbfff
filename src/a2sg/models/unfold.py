"""From integer spikes to binary ones: D steps for each, the same outputs.

Between neurons there are only affine layers, and these commute with a mean: W mean(s) + b = mean(W s + b).
So if a neuron fires its integer spike q of 0 .. D as q spikes in D binary steps, everything after it runs on
the binary steps as it is, biases and norms included, and the next neuron takes the mean current over the D
steps. The spikes come first, as in a thermometer: the maximum of two counts is then that of their steps, and
a max pool of spikes goes through as well. What is not affine takes the mean itself.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from a2sg.errors import require
from a2sg.models.attention import SpikeProduct, TokenAttention
from a2sg.models.blocks import PooledNeuron
from a2sg.models.layers import Frames
from a2sg.neuron import IntegerLIF, SpikingNeuron


def unfold(model: nn.Module) -> nn.Module:
    """A copy of a network whose integer neurons fire D binary steps each, for inference (evaluation mode).

    Every weight that read integer spikes reads D binary ones, as neuromorphic hardware has them. The products
    of attention, which have no weights, still multiply the counts. The image is shown D times, as to any
    network that runs T · D steps.

    Args:
        model: of `a2sg.create_model`, with integer neurons.

    Returns:
        A module with the same inputs and, up to rounding, the same outputs `[T, B, ...]`. Rounding may change
        a spike whose potential lies at a threshold.

    Raises:
        InputError: if the model has no integer neurons, or is not of a kind that unfolds exactly.
    """
    neurons = [module for module in model.modules() if isinstance(module, IntegerLIF)]
    require(bool(neurons), "unfold needs a model with integer neurons: a2sg.IntegerLIF, neuron='integer_lif'")
    require(
        any(isinstance(module, Frames) for module in model.modules()),
        "unfold takes networks of a2sg.create_model: this model has no layer that shows it the image",
    )
    levels = {neuron.levels for neuron in neurons}
    require(len(levels) == 1, f"all integer neurons must have the same levels to unfold, not {levels}")
    require(
        all(neuron.normalize for neuron in neurons),
        "unfold needs integer neurons with normalize=True, whose spikes are the mean of their binary steps",
    )
    require(
        not any(isinstance(module, TokenAttention | PooledNeuron) for module in model.modules()),
        "this network gates spikes by spikes (Q-K token attention) or pools currents before a neuron: it has "
        "no exact unfolding",
    )
    return _Unfolded(deepcopy(model), levels.pop()).eval()


class _Unfolded(nn.Module):
    """A network inside which time is T · D."""

    def __init__(self, model: nn.Module, substeps: int) -> None:
        super().__init__()
        self.model = _replaced(model, substeps)
        self.substeps = substeps

    def forward(self, images: Tensor) -> Tensor:
        return _mean(self.model(images), self.substeps)


class _Binary(nn.Module):
    """An integer neuron on the mean current of D steps, firing D binary ones."""

    def __init__(self, neuron: IntegerLIF) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor) -> Tensor:
        levels = self.neuron.levels
        count = (self.neuron(_mean(current, levels)) * levels).round()
        ranks = torch.arange(1, levels + 1, device=count.device, dtype=count.dtype)
        spikes = count[:, None] >= ranks.view(-1, *[1] * (count.dim() - 1))
        return spikes.to(count.dtype).flatten(0, 1)


class _Folded(nn.Module):
    """A layer that is not affine, on the mean of D steps; all D then have its output."""

    def __init__(self, layer: nn.Module, substeps: int) -> None:
        super().__init__()
        self.layer = layer
        self.substeps = substeps

    def forward(self, *inputs: Tensor) -> Tensor:
        folded = (_mean(x, self.substeps) for x in inputs)
        return self.layer(*folded).repeat_interleave(self.substeps, 0)


class _Shown(nn.Module):
    """The image, D times at each step."""

    def __init__(self, frames: Frames, substeps: int) -> None:
        super().__init__()
        self.frames = frames
        self.substeps = substeps

    def forward(self, images: Tensor) -> Tensor:
        return self.frames(images).repeat_interleave(self.substeps, 0)


def _replaced(module: nn.Module, substeps: int) -> nn.Module:
    """`module` for T · D steps, changed in place where it need not be replaced itself."""
    if isinstance(module, IntegerLIF):
        return _Binary(module)
    if isinstance(module, Frames):
        return _Shown(module, substeps)
    if isinstance(module, SpikingNeuron | SpikeProduct):
        return _Folded(module, substeps)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, substeps))
    return module


def _mean(x: Tensor, substeps: int) -> Tensor:
    """`[T · D, ...]` to `[T, ...]`."""
    return x.unflatten(0, (-1, substeps)).mean(1)
