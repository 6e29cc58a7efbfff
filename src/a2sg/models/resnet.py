"""Spiking ResNets, from a table of stages: basic, spike-element-wise (SEW) and membrane-shortcut (MS)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from a2sg.errors import require_choice, require_positive
from a2sg.models.layers import Frames, PerStep
from a2sg.models.residual import BasicBlock, Block, MSBlock, SEWBlock, conv, current, spiking
from a2sg.models.setting import Setting, register_model

LARGE = 128
"""Height and width from which on `stem="auto"` is that for ImageNet."""

WIDE = (128, 256, 512), (3, 3, 2)
FOUR_STAGES = 64, 128, 256, 512


class ResNet(nn.Sequential):
    """A stem, stages of residual blocks, the mean over space, a dense head; logits `[T, B, num_classes]`.

    Stages after the first halve height and width. The stem is conv3x3-BN-LIF (`"cifar"`), or
    conv7x7/2-BN-LIF and max pool 3/2 (`"imagenet"`). In front of blocks that take currents (MS) the stem
    has no LIF, and instead of its pool the first stage has stride 2; a LIF follows the last stage.

    Args:
        setting: sizes, neuron and normalisation.
        block: `BasicBlock`, `SEWBlock` or `MSBlock`.
        channels: of each stage; the stem has those of the first.
        blocks: how many each stage has.
        width: factor on all channels, and on `dense`.
        dense: neurons of a dense layer FC-LIF (without BN) before the head; 0 is none.
        stem: `"cifar"`, `"imagenet"`, or `"auto"`: `"imagenet"` for images from 128x128 on.

    Raises:
        InputError: for a width that is not above 0, or an unknown stem.
    """

    def __init__(
        self,
        setting: Setting,
        block: Block,
        channels: Sequence[int],
        blocks: Sequence[int],
        width: float = 1.0,
        dense: int = 0,
        stem: str = "cifar",
    ) -> None:
        require_positive("width", width)
        require_choice("stem", stem, ("auto", "cifar", "imagenet"))
        large = stem == "imagenet" or (stem == "auto" and min(setting.size) >= LARGE)

        def scaled(features: int) -> int:
            return max(1, round(features * width))

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["frames"] = Frames(setting.steps, setting.in_channels, setting.size)
        features = scaled(channels[0])
        size, stride = (7, 2) if large else (3, 1)
        first = conv(setting.in_channels, features, size, stride, bias=block.bias)
        if block.fires:
            layers["stem"] = spiking(setting, first)
            if large:
                layers["stem_pool"] = PerStep(nn.MaxPool2d(3, 2, padding=1))
            strides = 1, *[2] * (len(blocks) - 1)
        else:
            last = setting.neuron()
            layers["stem"] = current(setting, first, last)
            strides = stride, *[2] * (len(blocks) - 1)
        for stage, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
            row = OrderedDict[str, nn.Module]()
            for number in range(count):
                stride = strides[stage] if number == 0 else 1
                row[f"block{number + 1}"] = block(
                    setting, features, scaled(outputs), stride, first=number == 0
                )
                features = scaled(outputs)
            layers[f"stage{stage + 1}"] = nn.Sequential(row)
        if not block.fires:
            layers["neuron"] = last
        layers["pool"] = PerStep(nn.AdaptiveAvgPool2d(1))
        layers["flatten"] = nn.Flatten(2)
        if dense:
            fc = nn.Linear(features, scaled(dense))
            nn.init.kaiming_normal_(fc.weight, nonlinearity="relu")
            nn.init.zeros_(fc.bias)
            layers["fc"] = PerStep(fc)
            layers["fc_neuron"] = setting.neuron()
            features = scaled(dense)
        layers["head"] = PerStep(nn.Linear(features, setting.num_classes))
        super().__init__(layers)


@register_model("resnet18")
def resnet18(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet18, 11.18 M parameters for CIFAR-10 (published: 11.2 M)."""
    return ResNet(setting, BasicBlock, FOUR_STAGES, (2, 2, 2, 2), width, stem=stem)


@register_model("resnet19")
def resnet19(setting: Setting, width: float = 1.0) -> ResNet:
    """ResNet19 of 128 to 512 channels and a dense layer, 12.72 M parameters for CIFAR-10."""
    return ResNet(setting, BasicBlock, *WIDE, width, dense=256)


@register_model("resnet20")
def resnet20(setting: Setting, width: float = 1.0) -> ResNet:
    """ResNet20 of 64 to 256 channels, 4.34 M parameters for CIFAR-10."""
    return ResNet(setting, BasicBlock, (64, 128, 256), (3, 3, 3), width)


@register_model("resnet34")
def resnet34(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet34, 21.81 M parameters for ImageNet."""
    return ResNet(setting, BasicBlock, FOUR_STAGES, (3, 4, 6, 3), width, stem=stem)


@register_model("sew_resnet18")
def sew_resnet18(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet18 that adds spikes (SEW), 11.69 M parameters for ImageNet."""
    return ResNet(setting, SEWBlock, FOUR_STAGES, (2, 2, 2, 2), width, stem=stem)


@register_model("sew_resnet34")
def sew_resnet34(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet34 that adds spikes (SEW), 21.80 M parameters for ImageNet (published: 21.79 M, cut off)."""
    return ResNet(setting, SEWBlock, FOUR_STAGES, (3, 4, 6, 3), width, stem=stem)


@register_model("ms_resnet18")
def ms_resnet18(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet18 that adds membrane currents (MS), 11.69 M parameters for ImageNet."""
    return ResNet(setting, MSBlock, FOUR_STAGES, (2, 2, 2, 2), width, stem=stem)


@register_model("ms_resnet19")
def ms_resnet19(setting: Setting, width: float = 1.0) -> ResNet:
    """ResNet19 that adds membrane currents (MS), 12.70 M parameters for CIFAR-10."""
    return ResNet(setting, MSBlock, *WIDE, width, dense=256)


@register_model("ms_resnet34")
def ms_resnet34(setting: Setting, width: float = 1.0, stem: str = "auto") -> ResNet:
    """ResNet34 that adds membrane currents (MS), 21.80 M parameters for ImageNet."""
    return ResNet(setting, MSBlock, FOUR_STAGES, (3, 4, 6, 3), width, stem=stem)
