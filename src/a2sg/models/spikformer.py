"""Spikformer (Zhou et al., Spikformer: When spiking neural network meets transformer, 2023)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from a2sg.errors import require, require_count
from a2sg.models.attention import self_attention
from a2sg.models.blocks import ResidualChain, halving_pool, mlp, token_mean
from a2sg.models.layers import Frames, PerStep
from a2sg.models.residual import conv, spiking
from a2sg.models.setting import Setting, register_model


class Spikformer(nn.Sequential):
    """Spiking patch splitting, blocks of attention and MLP; gives logits `[T, B, num_classes]`.

    Height and width may differ, and need not be multiples of the patch.

    Args:
        setting: sizes and neuron.
        dim: channels of a token.
        depth: blocks.
        heads: of their attention.
        pools: how many of the four convolutions of the patch splitting, counted from the last, are followed
            by a max pool 3/2.
        scale: of the attention's products.

    Raises:
        InputError: for sizes that do not divide, or images smaller than a patch.
    """

    def __init__(
        self, setting: Setting, dim: int, depth: int, heads: int, pools: int, scale: float = 0.125
    ) -> None:
        require_count("dim", dim)
        require_count("depth", depth)
        require(dim % 8 == 0, f"dim must be a multiple of 8, not {dim}")
        require_patch(setting, 2**pools)
        patches: OrderedDict[str, nn.Module] = OrderedDict()
        channels = (setting.in_channels, dim // 8, dim // 4, dim // 2, dim)
        for number, (inputs, outputs) in enumerate(pairwise(channels), start=1):
            patches[f"conv{number}"] = spiking(setting, conv(inputs, outputs, 3))
            if number > 4 - pools:
                patches[f"pool{number}"] = halving_pool()
        patches["position"] = ResidualChain({"conv": spiking(setting, conv(dim, dim, 3))})
        blocks = [
            ResidualChain({"attention": self_attention(setting, dim, heads, scale), "mlp": mlp(setting, dim)})
            for _ in range(depth)
        ]
        super().__init__(
            OrderedDict(
                frames=Frames(setting.steps, setting.in_channels, setting.size),
                patches=nn.Sequential(patches),
                blocks=nn.Sequential(*blocks),
                mean=token_mean(),
                # As published, the mean over time comes before this layer. It is linear: the mean of its
                # outputs, which the losses take, is the same.
                head=PerStep(nn.Linear(dim, setting.num_classes)),
            )
        )


def require_patch(setting: Setting, patch: int) -> None:
    """Raise `InputError` for images smaller than a patch."""
    height, width = setting.size
    require(
        min(height, width) >= patch,
        f"image_size must be at least {patch} for this network, whose tokens are {patch}x{patch} pixels, not "
        f"{height if height == width else (height, width)}",
    )


@register_model("spikformer_4_384")
def spikformer_4_384(setting: Setting, dim: int = 384, depth: int = 4, heads: int = 12) -> Spikformer:
    """Spikformer-4-384 for CIFAR, 4x4 patches, 9.32 M parameters with 3 input channels (from 4x4)."""
    return Spikformer(setting, dim, depth, heads, pools=2)


@register_model("spikformer_2_256")
def spikformer_2_256(setting: Setting, dim: int = 256, depth: int = 2, heads: int = 16) -> Spikformer:
    """Spikformer-2-256 for events, 16x16 patches, 2.57 M parameters with 2 input channels (from 16x16).

    Attention is scaled by 0.25, as in the authors' code for events. The 2.59 M that are also published count
    a position embedding and layer norms, which that code makes and never uses.
    """
    return Spikformer(setting, dim, depth, heads, pools=4, scale=0.25)


@register_model("spikformer_8_512")
def spikformer_8_512(setting: Setting, dim: int = 512, depth: int = 8, heads: int = 8) -> Spikformer:
    """Spikformer-8-512 for ImageNet, 16x16 patches, 29.69 M parameters with 3 input channels (from 16x16).

    The paper says 29.68 M. The authors' code has 29,689,384 parameters for 1,000 classes, as here, not
    counting layer norms that it makes and never uses.
    """
    return Spikformer(setting, dim, depth, heads, pools=4)
