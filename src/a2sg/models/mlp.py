"""Spiking dense networks, for small inputs without spatial structure."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from a2sg.errors import require_count
from a2sg.models.layers import Frames, PerStep, SpikingLayer
from a2sg.models.setting import Setting, register_model


@register_model("mlp_small")
def mlp_small(setting: Setting, hidden: Sequence[int] = (256, 256)) -> nn.Sequential:
    """Two dense layers of 256 over the flattened input, such as 39 taxels with 2 polarities.

    Args:
        setting: sizes, neuron and normalisation.
        hidden: neurons of each FC-BN-LIF layer before the head.

    Raises:
        InputError: for a layer without neurons.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["frames"] = Frames(setting.steps, setting.in_channels, setting.size)
    layers["flatten"] = nn.Flatten(2)
    features = setting.in_channels * math.prod(setting.size)
    for number, neurons in enumerate(hidden, start=1):
        linear = nn.Linear(features, require_count("hidden", neurons), bias=False)
        layers[f"fc{number}"] = SpikingLayer(linear, setting.neuron(), norm=setting.norm)
        features = neurons
    layers["head"] = PerStep(nn.Linear(features, setting.num_classes))
    return nn.Sequential(layers)
