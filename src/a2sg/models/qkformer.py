"""QKFormer (Zhou et al., QKFormer: Hierarchical spiking transformer using Q-K attention, NeurIPS 2024)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from a2sg.errors import require, require_count
from a2sg.models.attention import self_attention, token_attention
from a2sg.models.blocks import ResidualChain, mlp, pooled, token_mean
from a2sg.models.layers import Frames, PerStep
from a2sg.models.residual import Residual, conv, spiking
from a2sg.models.setting import Setting, register_model
from a2sg.models.spikformer import require_patch


class QKFormer(nn.Sequential):
    """Stages of patch embedding and transformer blocks; gives logits `[T, B, num_classes]`.

    The last stage has spiking self-attention, the earlier ones Q-K token attention. Every stage has twice the
    channels of the one before, at half the height and width. Height and width may differ.

    Args:
        setting: sizes and neuron.
        embeddings: of each stage.
        dim: channels of the last stage.
        depths: blocks of each stage.
        heads: of all attention.
        ratio: the hidden channels of an MLP over its other ones.
        patch: width in pixels of a token of the last stage.

    Raises:
        InputError: for sizes that do not divide, or images smaller than a patch.
    """

    def __init__(
        self,
        setting: Setting,
        embeddings: Sequence[nn.Module],
        dim: int,
        depths: Sequence[int],
        heads: int,
        ratio: int,
        patch: int,
    ) -> None:
        require_patch(setting, patch)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["frames"] = Frames(setting.steps, setting.in_channels, setting.size)
        last = len(depths)
        for number, (embedding, depth) in enumerate(zip(embeddings, depths, strict=True), start=1):
            channels = dim >> (last - number)
            attention = self_attention if number == last else token_attention
            blocks = [
                ResidualChain(
                    {
                        "attention": attention(setting, channels, heads),
                        "mlp": mlp(setting, channels, ratio),
                    }
                )
                for _ in range(depth)
            ]
            layers[f"embed{number}"] = embedding
            layers[f"stage{number}"] = nn.Sequential(*blocks)
        layers["mean"] = token_mean()
        layers["head"] = PerStep(nn.Linear(dim, setting.num_classes))
        super().__init__(layers)


def embedding(shortcut: nn.Module, *branch: nn.Module) -> Residual:
    """Spikes of a branch added to those of a shortcut."""
    return Residual(nn.Sequential(*branch), shortcut, nn.Identity())


def late_pool(setting: Setting, inputs: int, outputs: int) -> Residual:
    """Halves height and width by a max pool in the second convolution of the branch."""
    return embedding(
        spiking(setting, conv(inputs, outputs, 1, 2)),
        spiking(setting, conv(inputs, outputs, 3)),
        pooled(setting, conv(outputs, outputs, 3)),
    )


def early_pool(setting: Setting, inputs: int, outputs: int) -> Residual:
    """Halves height and width by a max pool in the first convolution of the branch."""
    return embedding(
        spiking(setting, conv(inputs, outputs, 1, 2)),
        pooled(setting, conv(inputs, outputs, 3)),
        spiking(setting, conv(outputs, outputs, 3)),
    )


def imagenet_qkformer(setting: Setting, dim: int, depth: int, heads: int) -> QKFormer:
    """Three stages with tokens of 4x4, 8x8 and 16x16 pixels."""
    require_sizes(dim, 8, depth, 4)
    start = nn.Sequential(
        pooled(setting, conv(setting.in_channels, dim // 8, 3)), early_pool(setting, dim // 8, dim // 4)
    )
    embeddings = (start, early_pool(setting, dim // 4, dim // 2), early_pool(setting, dim // 2, dim))
    return QKFormer(setting, embeddings, dim, (1, 2, depth - 3), heads, ratio=4, patch=16)


def require_sizes(dim: int, factor: int, depth: int, least: int) -> None:
    """Raise `InputError` unless `dim` is a multiple of `factor`, and `depth` at least `least`."""
    require_count("dim", dim)
    require(dim % factor == 0, f"dim must be a multiple of {factor}, not {dim}")
    require_count("depth", depth, least)


@register_model("qkformer_4_384")
def qkformer_4_384(setting: Setting, dim: int = 384, depth: int = 4, heads: int = 8) -> QKFormer:
    """QKFormer-4-384 for CIFAR, 6.74 M parameters with 3 input channels and 100 classes (from 4x4)."""
    require_sizes(dim, 8, depth, 3)
    first, second = dim // 8, dim // 4
    start = nn.Sequential(
        spiking(setting, conv(setting.in_channels, first, 3)),
        embedding(spiking(setting, conv(first, second, 1)), spiking(setting, conv(first, second, 3))),
    )
    embeddings = (start, late_pool(setting, second, dim // 2), late_pool(setting, dim // 2, dim))
    return QKFormer(setting, embeddings, dim, (1, 1, depth - 2), heads, ratio=4, patch=4)


@register_model("qkformer_2_256")
def qkformer_2_256(
    setting: Setting, dim: int = 256, depth: int = 2, heads: int = 16, ratio: int = 1
) -> QKFormer:
    """QKFormer-2-256 for events, 1.50 M parameters with 2 input channels (from 16x16).

    That is the count for CIFAR10-DVS, where MLPs do not widen; `ratio=4` is what the authors' code has for
    DVS128 Gesture (2.00 M).
    """
    require_sizes(dim, 16, depth, 2)
    require_count("ratio", ratio)
    a, b, c, d = (dim // part for part in (16, 8, 4, 2))
    start = nn.Sequential(
        spiking(setting, conv(setting.in_channels, a, 3)),
        pooled(setting, conv(a, b, 3)),
        embedding(
            spiking(setting, conv(b, d, 1, 4)),
            pooled(setting, conv(b, c, 3)),
            pooled(setting, conv(c, d, 3)),
        ),
    )
    return QKFormer(setting, (start, late_pool(setting, d, dim)), dim, (1, depth - 1), heads, ratio, patch=16)


@register_model("qkformer_10_384")
def qkformer_10_384(setting: Setting, dim: int = 384, depth: int = 10, heads: int = 6) -> QKFormer:
    """QKFormer-10-384 for ImageNet, 16.47 M parameters with 3 input channels (from 16x16)."""
    return imagenet_qkformer(setting, dim, depth, heads)


@register_model("qkformer_10_512")
def qkformer_10_512(setting: Setting, dim: int = 512, depth: int = 10, heads: int = 8) -> QKFormer:
    """QKFormer-10-512 for ImageNet, 29.08 M parameters with 3 input channels (from 16x16)."""
    return imagenet_qkformer(setting, dim, depth, heads)


@register_model("qkformer_10_768")
def qkformer_10_768(setting: Setting, dim: int = 768, depth: int = 10, heads: int = 12) -> QKFormer:
    """QKFormer-10-768 for ImageNet, 64.96 M parameters with 3 input channels (from 16x16)."""
    return imagenet_qkformer(setting, dim, depth, heads)
