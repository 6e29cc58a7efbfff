"""Building blocks of spiking transformers, `[T, B, C, H, W]` in and out: a token is a pixel of a map.

Linear layers over tokens are 1x1 convolutions, so that channels are where batch norm expects them.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from a2sg.models.layers import PerStep, SpikingLayer, threshold_of
from a2sg.models.residual import conv, spiking
from a2sg.models.setting import Setting


class ResidualChain(nn.ModuleDict):
    """Branches one after the other, each added to what it reads: x + f(x), then again with the next."""

    def forward(self, x: Tensor) -> Tensor:
        for branch in self.values():
            x = x + branch(x)
        return x


class PooledNeuron(nn.Module):
    """A neuron that fires on the max-pooled current (3x3, stride 2).

    Args:
        neuron: a spiking neuron over `[T, B, C, H, W]`.
    """

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.pool = halving_pool()
        self.neuron = neuron
        self.threshold = threshold_of(neuron)

    def forward(self, current: Tensor) -> Tensor:
        return self.neuron(self.pool(current))


def pooled(setting: Setting, synapse: nn.Conv2d) -> SpikingLayer:
    """conv-BN-pool-LIF with the neuron and normalisation of `setting`."""
    return SpikingLayer(synapse, PooledNeuron(setting.neuron()), norm=setting.norm)


def linear(setting: Setting, inputs: int, outputs: int, bias: bool = False) -> SpikingLayer:
    """linear-BN-LIF over tokens."""
    return spiking(setting, conv(inputs, outputs, 1, bias=bias))


def halving_pool() -> PerStep:
    """Max pool 3/2, which halves height and width, rounding up."""
    return PerStep(nn.MaxPool2d(3, stride=2, padding=1))


def mlp(setting: Setting, channels: int, ratio: int = 4) -> nn.Sequential:
    """Two linear-BN-LIF, with `ratio` times as many channels between them."""
    hidden = ratio * channels
    return nn.Sequential(
        OrderedDict(
            hidden=linear(setting, channels, hidden, bias=True),
            output=linear(setting, hidden, channels, bias=True),
        )
    )


def token_mean() -> nn.Sequential:
    """The mean over all tokens: `[T, B, C, H, W]` to `[T, B, C]`."""
    return nn.Sequential(PerStep(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2))
