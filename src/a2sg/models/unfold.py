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

from a2sg.errors import require, told
from a2sg.models.attention import SpikeProduct, TokenAttention
from a2sg.models.blocks import PooledNeuron
from a2sg.models.layers import Frames, PerStep
from a2sg.neuron import IntegerLIF, SpikingNeuron
from a2sg.window.site import require_module

NOT_AFFINE = {f"torch.nn.modules.{name}" for name in ("activation", "normalization", "instancenorm")}
"""Modules of torch with the layers that take the mean current."""
LARGEST_CHANGE = 1e-3
"""Tolerance of outputs, relative to their mean size: a flipped spike changes less, a wrong unfolding more."""


def unfold(model: nn.Module, example: Tensor | None = None) -> nn.Module:
    """A copy of a network whose integer neurons fire D binary steps each, for inference (evaluation mode).

    Every weight that read integer spikes reads D binary ones, as neuromorphic hardware has them. The products
    of attention, which have no weights, still multiply the counts. The input of each step is shown D times.

    Args:
        model: with integer neurons: of `a2sg.create_model`, or your own, over `[T, B, ...]`. It may hold any
            modules; between neurons its own forward pass may only do what commutes with a mean over steps,
            such as sums, and max pools may pool only spikes.
        example: a batch on which the outputs of both are compared; needed for your own network, since
            nothing else shows what its forward pass does.

    Returns:
        A module with the same inputs and, up to rounding, the same outputs. Rounding may change a spike whose
        potential lies at a threshold.

    Raises:
        InputError: if the model has no integer neurons, or its outputs change.
    """
    require_module(model)
    neurons = [module for module in model.modules() if isinstance(module, IntegerLIF)]
    require(bool(neurons), "unfold needs a model with integer neurons: a2sg.IntegerLIF, neuron='integer_lif'")
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
    shows = any(isinstance(module, Frames) for module in model.modules())
    require(
        shows or example is not None,
        "unfold needs example=, a batch [T, B, ...] on which it compares the outputs: only for networks "
        "of a2sg.create_model is it known what they compute between neurons",
    )
    unfolded = _Unfolded(deepcopy(model), levels.pop(), shows).eval()
    if example is not None:
        _compare(model, unfolded, example)
    return unfolded


def _compare(model: nn.Module, unfolded: _Unfolded, example: Tensor) -> None:
    """Raise `InputError` unless both have the same outputs, in float64; find out how the outputs fold."""
    with torch.no_grad(), told("the network cannot be run on D times as many steps"):
        x = example.double()
        expected: Tensor = deepcopy(model).double().eval()(x)
        twin = deepcopy(unfolded).double()
        unfolded.folds = twin.folds = twin.inside(x).shape != expected.shape
        found = twin(x)
    require(
        found.shape == expected.shape,
        f"its outputs would be {tuple(found.shape)}, not {tuple(expected.shape)}",
    )
    change = ((found - expected).abs().mean() / expected.abs().mean().clamp_min(1e-12)).item()
    require(
        change <= LARGEST_CHANGE,
        f"the unfolded network's outputs differ by {change:.2g} of their size: between neurons its forward "
        "pass does something that does not commute with a mean over steps (a product, a max pool of "
        "currents, a function such as F.relu, for which you can use a module), or many potentials lie at "
        "thresholds",
    )


class _Unfolded(nn.Module):
    """A network inside which time is T · D."""

    def __init__(self, model: nn.Module, substeps: int, shows: bool) -> None:
        super().__init__()
        self.model = _replaced(model, substeps)
        self.substeps = substeps
        self.shows = shows
        self.folds = True

    def inside(self, inputs: Tensor) -> Tensor:
        """The model's own output."""
        if not self.shows:
            inputs = inputs.repeat_interleave(self.substeps, 0)
        output: Tensor = self.model(inputs)
        return output

    def forward(self, inputs: Tensor) -> Tensor:
        output = self.inside(inputs)
        return _mean(output, self.substeps) if self.folds else output


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
    """`module` for T · D steps, changed in place unless it must itself be replaced."""
    if isinstance(module, IntegerLIF):
        return _Binary(module)
    if isinstance(module, Frames):
        return _Shown(module, substeps)
    if isinstance(module, PerStep) and type(module.layer) is nn.Sequential:
        # One by one, so that weights read binary steps even if what comes after them takes the mean.
        return nn.Sequential(*(_replaced(PerStep(layer), substeps) for layer in module.layer))
    folded = isinstance(module, SpikingNeuron | SpikeProduct) or not _is_affine(module)
    if folded or (isinstance(module, PerStep) and not all(map(_is_affine, module.modules()))):
        return _Folded(module, substeps)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, substeps))
    return module


def _is_affine(module: nn.Module) -> bool:
    return type(module).__module__ not in NOT_AFFINE


def _mean(x: Tensor, substeps: int) -> Tensor:
    """`[T · D, ...]` to `[T, ...]`."""
    return x.unflatten(0, (-1, substeps)).mean(1)
