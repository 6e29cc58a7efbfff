"""Spiking VGG networks, from a table of stages."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from a2sg.errors import InputError, require_positive
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.maps import AveragePool
from a2sg.models.setting import Setting, register_model

POOL = "P"


class VGG(nn.Sequential):
    """3x3 convolutions and average pools, then dense layers; gives logits `[T, B, num_classes]`.

    Args:
        setting: sizes, neuron and normalisation.
        convs: the stages: a number is conv3x3-BN-LIF of that many channels, `P` average pool 2/2.
        dense: FC-BN-LIF layers before the head.
        width: factor on all channels and dense layers.
        bias: whether weights before a BN have a (redundant) bias, as in the published counts.

    Raises:
        InputError: for an image size that cannot be halved as often as there are pools.
    """

    def __init__(
        self, setting: Setting, convs: str, dense: str, width: float = 1.0, bias: bool = False
    ) -> None:
        require_positive("width", width)
        stages = convs.split()
        times = stages.count(POOL)
        left = [side >> times for side in setting.size]
        if 0 in left:
            raise InputError(
                f"image_size must be at least {2**times} for this network, which halves it {times} times, "
                f"not {min(setting.size)}"
            )

        def scaled(channels: str) -> int:
            return max(1, round(int(channels) * width))

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["frames"] = Frames(setting.steps, setting.in_channels, setting.size)
        features = setting.in_channels
        convolutions = pools = 0
        for stage in stages:
            if stage == POOL:
                pools += 1
                layers[f"pool{pools}"] = PerStep(AveragePool(2))
            else:
                convolutions += 1
                conv = nn.Conv2d(features, scaled(stage), 3, padding=1, bias=bias)
                layers[f"conv{convolutions}"] = SpikingLayer(conv, setting.neuron(), norm=setting.norm)
                features = scaled(stage)
        layers["flatten"] = nn.Flatten(2)
        features *= math.prod(left)
        for number, stage in enumerate(dense.split(), start=1):
            linear = nn.Linear(features, scaled(stage), bias=bias)
            layers[f"fc{number}"] = SpikingLayer(linear, setting.neuron(), norm=setting.norm)
            features = scaled(stage)
        layers["head"] = PerStep(nn.Linear(features, setting.num_classes))
        super().__init__(layers)


@register_model("vgg_small")
def vgg_small(setting: Setting, width: float = 1.0) -> VGG:
    """Four convolutions and a dense layer of 32 to 128 channels, for small images (from 4x4)."""
    return VGG(setting, "32 32 P 64 64 P", "128", width)


@register_model("vgg11")
def vgg11(setting: Setting, width: float = 1.0) -> VGG:
    """VGG11, 9.76 M parameters with 2 input channels at 32x32 or 48x48 (from 32x32)."""
    return VGG(setting, "64 P 128 P 256 256 P 512 512 P 512 512 P", "512 512", width, bias=True)


@register_model("vgg16")
def vgg16(setting: Setting, width: float = 1.0) -> VGG:
    """VGG16, 15.26 M parameters with 3 input channels at 32x32 (from 32x32)."""
    convs = "64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512 P"
    return VGG(setting, convs, "512 512", width, bias=True)


@register_model("vggsnn")
def vggsnn(setting: Setting, width: float = 1.0) -> VGG:
    """VGGSNN for events, 9.27 M parameters with 2 input channels at 48x48 (from 16x16)."""
    return VGG(setting, "64 128 P 256 256 P 512 512 P 512 512 P", "", width)
