"""Segmentation: E-SpikeFormer with a spiking feature pyramid.

The pyramid is that of Lin et al. (2017), the head that of Kirillov et al. (2019), with neurons before the
weights, as published with E-SpikeFormer for ADE20K.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from a2sg.errors import require_count
from a2sg.models.espikeformer import DIMS, Backbone, fire_then
from a2sg.models.layers import PerStep, per_step
from a2sg.models.residual import conv
from a2sg.models.setting import Setting, register_model


class Pyramid(nn.Module):
    """Maps of all levels, each with information from the coarser ones; currents in and out, finest first.

    Laterals (neuron-1x1-BN) bring every level to `width` channels; from the coarsest on, each is enlarged to
    the next finer one (nearest pixel) and added; neuron-3x3-BN smooths the sums.

    Args:
        setting: neuron and normalisation.
        channels: of each level.
        width: channels of all outputs.
    """

    def __init__(self, setting: Setting, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(fire_then(setting, conv(c, width, 1, bias=True)) for c in channels)
        self.smooth = nn.ModuleList(fire_then(setting, conv(width, width, 3, bias=True)) for _ in channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        sums = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        for finer in range(len(sums) - 2, -1, -1):
            sums[finer] = sums[finer] + resized(sums[finer + 1], sums[finer].shape[-2:], "nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]


class Enlargement(nn.ModuleList):
    """neuron-3x3-BN, then bilinear to a finer level's size; as many times as there are sizes."""

    def forward(self, x: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        for layer, size in zip(self, sizes, strict=True):
            x = resized(layer(x), size, "bilinear")
        return x


class SemanticHead(nn.Module):
    """Semantic-FPN head: all levels at the finest one's size, summed, fired, and classified by pixel.

    A level rises to the finest by one level at a time; the finest has one neuron-3x3-BN too.

    Args:
        setting: number of classes, neuron and normalisation.
        levels: how many.
        width: channels of all levels.
    """

    def __init__(self, setting: Setting, levels: int, width: int) -> None:
        super().__init__()
        self.rises = nn.ModuleList(
            Enlargement(fire_then(setting, conv(width, width, 3)) for _ in range(max(1, level)))
            for level in range(levels)
        )
        self.neuron = setting.neuron()
        self.classify = PerStep(nn.Conv2d(width, setting.num_classes, 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        sizes = [level.shape[-2:] for level in levels]
        risen = [
            rise(x, sizes[: max(1, level)][::-1])
            for level, (rise, x) in enumerate(zip(self.rises, levels, strict=True))
        ]
        return self.classify(self.neuron(sum(risen[1:], risen[0])))


class SegmentationNetwork(nn.Module):
    """Backbone, pyramid, head; gives logits `[T, B, num_classes, H, W]`, one for every pixel of the image.

    The head's logits come at half the image's height and width (rounded up) and are enlarged bilinearly.
    Height and width may differ, and need not be multiples of 16.

    Args:
        setting: sizes and neuron.
        dims: see `a2sg.models.espikeformer.Backbone`.
        depths: see there.
        heads: see there.
        width: channels of pyramid and head.
    """

    def __init__(
        self, setting: Setting, dims: Sequence[int], depths: Sequence[int], heads: int, width: int
    ) -> None:
        super().__init__()
        require_count("width", width)
        self.backbone = Backbone(setting, dims, depths, heads)
        self.pyramid = Pyramid(setting, self.backbone.channels, width)
        self.head = SemanticHead(setting, len(self.backbone.channels), width)

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.head(self.pyramid(self.backbone(images))), images.shape[-2:], "bilinear")


def resized(x: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Maps `[T, B, C, H, W]` at another height and width."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return per_step(lambda maps: F.interpolate(maps, size=tuple(size), mode=mode), x)


@register_model("espikeformer_t_fpn", neuron="integer_lif")
def espikeformer_t_fpn(
    setting: Setting,
    dims: Sequence[int] = DIMS["t"],
    depths: Sequence[int] = (6, 2),
    heads: int = 8,
    width: int = 128,
) -> SegmentationNetwork:
    """E-SpikeFormer-T with a spiking FPN: segmentation, 4.25 M parameters with 150 classes (from 16x16)."""
    return SegmentationNetwork(setting, dims, depths, heads, width)


@register_model("espikeformer_s_fpn", neuron="integer_lif")
def espikeformer_s_fpn(
    setting: Setting,
    dims: Sequence[int] = DIMS["s"],
    depths: Sequence[int] = (6, 2),
    heads: int = 8,
    width: int = 128,
) -> SegmentationNetwork:
    """E-SpikeFormer-S with a spiking FPN: segmentation, 6.60 M parameters with 150 classes (from 16x16)."""
    return SegmentationNetwork(setting, dims, depths, heads, width)


@register_model("espikeformer_m_fpn", neuron="integer_lif")
def espikeformer_m_fpn(
    setting: Setting,
    dims: Sequence[int] = DIMS["m"],
    depths: Sequence[int] = (6, 2),
    heads: int = 8,
    width: int = 128,
) -> SegmentationNetwork:
    """E-SpikeFormer-M with a spiking FPN: segmentation, 11.48 M parameters with 150 classes (from 16x16)."""
    return SegmentationNetwork(setting, dims, depths, heads, width)


@register_model("espikeformer_l_fpn", neuron="integer_lif")
def espikeformer_l_fpn(
    setting: Setting,
    dims: Sequence[int] = DIMS["l"],
    depths: Sequence[int] = (6, 2),
    heads: int = 8,
    width: int = 128,
) -> SegmentationNetwork:
    """E-SpikeFormer-L with a spiking FPN: segmentation, 20.35 M parameters with 150 classes (from 16x16)."""
    return SegmentationNetwork(setting, dims, depths, heads, width)
