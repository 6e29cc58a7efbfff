"""Small spiking segmentation without any pooling."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from a2sg.errors import require_positive
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.setting import Setting, register_model

DILATIONS = (1, 1, 2, 4)
"""Of the 3x3 convolutions: a pixel's logits see the 17x17 pixels around it."""


@register_model("fcn_small")
def fcn_small(setting: Setting, width: float = 1.0) -> nn.Sequential:
    """Four convolutions of 32 channels at full resolution: segmentation, logits per pixel, any image size.

    Logits are `[T, B, num_classes, H, W]`.

    Args:
        setting: sizes, neuron and normalisation.
        width: factor on the channels.

    Raises:
        InputError: for a width that is not above 0.
    """
    channels = max(1, round(32 * require_positive("width", width)))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["frames"] = Frames(setting.steps, setting.in_channels)
    features = setting.in_channels
    for number, dilation in enumerate(DILATIONS, start=1):
        conv = nn.Conv2d(features, channels, 3, padding=dilation, dilation=dilation, bias=False)
        layers[f"conv{number}"] = SpikingLayer(conv, setting.neuron(), norm=setting.norm)
        features = channels
    layers["head"] = PerStep(nn.Conv2d(features, setting.num_classes, 1))
    return nn.Sequential(layers)
