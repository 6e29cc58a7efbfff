"""Narrow networks of any depth, so that a CPU can ask what depth does.

PYTHONPATH=evidence a2sg compare RECIPE --import deep_nets --model.name plain_conv ...
"""

from __future__ import annotations

from a2sg.errors import require_count
from a2sg.models.residual import MSBlock
from a2sg.models.resnet import ResNet
from a2sg.models.setting import Setting, register_model
from a2sg.models.vgg import POOL, VGG

STAGES = 3
"""Of `narrow_ms`; each but the first halves the image."""


@register_model("plain_conv")
def plain_conv(setting: Setting, depth: int = 18, channels: int = 16, pools: int = 2) -> VGG:
    """A plain spiking network of `depth` layers conv3x3-BN-LIF, all of as many channels, and a dense head.

    Args:
        setting: sizes, neuron and normalisation.
        depth: convolutions.
        channels: of each.
        pools: average pools 2/2, evenly spread.
    """
    require_count("depth", depth, least=pools + 1)
    stages = [str(channels)] * depth
    for at in range(pools, 0, -1):
        stages.insert(at * depth // (pools + 1), POOL)
    return VGG(setting, " ".join(stages), "")


@register_model("narrow_ms")
def narrow_ms(setting: Setting, blocks: int = 9, channels: int = 16) -> ResNet:
    """A membrane-shortcut network of `blocks` blocks, all of as many channels: 2 · blocks + 1 spiking layers.

    Args:
        setting: sizes, neuron and normalisation.
        blocks: of two convolutions each, spread evenly over three stages.
        channels: of each.
    """
    require_count("blocks", blocks, least=STAGES)
    counts = [(blocks + stage) // STAGES for stage in range(STAGES)]
    return ResNet(setting, MSBlock, [channels] * STAGES, counts)
