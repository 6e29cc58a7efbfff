"""E-SpikeFormer, or Spike-driven Transformer V3.

Yao et al., Scaling spike-driven transformer with efficient spike firing approximation training, 2025. Neurons
come before the weights, and what a shortcut adds up are currents, so every weight reads spikes. Published
with integer neurons, T = 1 and D = 4 levels, which are the default here; `a2sg.models.unfold` gives the
network of binary spikes that computes the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from a2sg.errors import require, require_count
from a2sg.models.attention import SelfAttention, SpikeProduct, require_heads
from a2sg.models.blocks import ResidualChain, linear, token_mean
from a2sg.models.layers import Frames, PerStep
from a2sg.models.residual import ConvNorm, conv, current, spiking
from a2sg.models.setting import Setting, register_model
from a2sg.models.spikformer import require_patch

DIMS: dict[str, tuple[int, int, int, int]] = {
    "t": (24, 48, 96, 128),
    "s": (32, 64, 128, 192),
    "m": (48, 96, 192, 240),
    "l": (64, 128, 256, 360),
}
"""Channels of the published sizes at strides 4, 8, 16 and 16; at stride 2 they are half the first."""
PATCH = 16


class Backbone(nn.Module):
    """Four stages; gives their currents `[T, B, C, H, W]` at strides 2, 4, 8 and 16, sizes rounded up.

    Args:
        setting: sizes and neuron.
        dims: channels at strides 4, 8, 16 and 16; the first is even, the last two are multiples of `heads`.
        depths: transformer blocks of `dims[2]` and `dims[3]`.
        heads: of their attention.

    Attributes:
        channels: C at each of the four strides.

    Raises:
        InputError: for sizes that do not divide, or images below 16x16.
    """

    def __init__(self, setting: Setting, dims: Sequence[int], depths: Sequence[int], heads: int) -> None:
        super().__init__()
        _require_counts("dims", dims, 4)
        _require_counts("depths", depths, 2)
        require(dims[0] % 2 == 0, f"the first of dims must be even, not {dims[0]}")
        require_patch(setting, PATCH)
        half = dims[0] // 2
        self.channels = (half, dims[0], dims[1], dims[3])
        self.frames = Frames(setting.steps, setting.in_channels, setting.size)
        # The first weights read the image.
        start = current(setting, conv(setting.in_channels, half, 7, 2, bias=True), setting.neuron())
        self.stages = nn.ModuleList(
            [
                nn.Sequential(start, conv_block(setting, half)),
                nn.Sequential(downsample(setting, half, dims[0]), conv_block(setting, dims[0])),
                nn.Sequential(
                    downsample(setting, dims[0], dims[1]),
                    conv_block(setting, dims[1]),
                    conv_block(setting, dims[1]),
                ),
                nn.Sequential(
                    downsample(setting, dims[1], dims[2]),
                    *(transformer_block(setting, dims[2], heads) for _ in range(depths[0])),
                    downsample(setting, dims[2], dims[3], stride=1),
                    *(transformer_block(setting, dims[3], heads) for _ in range(depths[1])),
                ),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.frames(images)
        currents = []
        for stage in self.stages:
            x = stage(x)
            currents.append(x)
        return currents


def _require_counts(name: str, values: Sequence[int], number: int) -> None:
    ok = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == number
    require(ok, f"{name} must be {number} whole numbers, not {values!r}")
    for value in values:
        require_count(name, value)


class ESpikeFormer(nn.Module):
    """The backbone and a dense head on the spikes of its mean current; gives logits `[T, B, num_classes]`.

    Height and width may differ, and need not be multiples of 16. The published head reads integer spikes as
    0 .. D, ours as 0 .. 1, as everywhere else: the weights take up that factor. Residual branches start at 0,
    which is ours too.

    Args:
        setting: sizes and neuron.
        dims: see `Backbone`.
        depths: see `Backbone`.
        heads: see `Backbone`.
    """

    def __init__(self, setting: Setting, dims: Sequence[int], depths: Sequence[int], heads: int) -> None:
        super().__init__()
        self.backbone = Backbone(setting, dims, depths, heads)
        self.mean = token_mean()
        self.neuron = setting.neuron()
        self.head = PerStep(nn.Linear(dims[3], setting.num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.neuron(self.mean(self.backbone(images)[-1])))


def fire_then(setting: Setting, synapse: nn.Conv2d) -> nn.Sequential:
    """neuron, weights, BN: from current to current."""
    neuron = setting.neuron()
    return nn.Sequential(OrderedDict(neuron=neuron, output=current(setting, synapse, neuron)))


def branch_end(setting: Setting, synapse: nn.Conv2d, neuron: nn.Module) -> ConvNorm:
    """The last weights of a residual branch, which starts at 0 and so leaves its input as it is.

    This is our choice, after MS-ResNet: with branches of full size, gradients grow from block to block on
    their way to the image, and small networks of this kind hardly start to learn.
    """
    return current(setting, synapse, neuron, alpha=0.0)


def downsample(setting: Setting, inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    """neuron-conv3x3-BN between two stages."""
    return fire_then(setting, conv(inputs, outputs, 3, stride, bias=True))


def separable(setting: Setting, channels: int, size: int) -> nn.Sequential:
    """Inverted separable convolution: every one of its three convolutions reads spikes."""
    neuron, wide = setting.neuron(), 2 * channels
    depthwise = nn.Conv2d(wide, wide, size, padding=size // 2, groups=wide, bias=False)
    return nn.Sequential(
        OrderedDict(
            neuron=neuron,
            widen=linear(setting, channels, wide),
            depthwise=spiking(setting, depthwise),
            narrow=branch_end(setting, conv(wide, channels, 1), neuron),
        )
    )


def widening(setting: Setting, channels: int, size: int, bias: bool) -> nn.Sequential:
    """Two convolutions with four times the channels between them: with `size` 1 a transformer's MLP."""
    neuron, wide = setting.neuron(), 4 * channels
    return nn.Sequential(
        OrderedDict(
            neuron=neuron,
            widen=spiking(setting, conv(channels, wide, size, bias=bias)),
            narrow=branch_end(setting, conv(wide, channels, size, bias=bias), neuron),
        )
    )


def linear_attention(setting: Setting, channels: int, heads: int) -> nn.Sequential:
    """Attention whose values have four times the channels, scaled by 2 / √(channels of a head)."""
    require_heads(channels, heads)
    neuron, wide = setting.neuron(), 4 * channels
    attention = SelfAttention(
        linear(setting, channels, channels),
        linear(setting, channels, channels),
        linear(setting, channels, wide),
        product=SpikeProduct(heads, 2 * (channels // heads) ** -0.5),
        neuron=neuron,
        projection=branch_end(setting, conv(wide, channels, 1), neuron),
    )
    return nn.Sequential(OrderedDict(neuron=setting.neuron(), attention=attention))


def conv_block(setting: Setting, channels: int) -> ResidualChain:
    """Separable convolution, then two 3x3 convolutions."""
    return ResidualChain(
        {
            "separable": separable(setting, channels, 7),
            "convolutions": widening(setting, channels, 3, bias=False),
        }
    )


def transformer_block(setting: Setting, channels: int, heads: int) -> ResidualChain:
    """Separable convolution, attention, MLP."""
    return ResidualChain(
        {
            "separable": separable(setting, channels, 3),
            "attention": linear_attention(setting, channels, heads),
            "mlp": widening(setting, channels, 1, bias=True),
        }
    )


@register_model("espikeformer_t", neuron="integer_lif")
def espikeformer_t(
    setting: Setting, dims: Sequence[int] = DIMS["t"], depths: Sequence[int] = (6, 2), heads: int = 8
) -> ESpikeFormer:
    """E-SpikeFormer-T for ImageNet, 2.70 M parameters; published with steps=1 (from 16x16)."""
    return ESpikeFormer(setting, dims, depths, heads)


@register_model("espikeformer_s", neuron="integer_lif")
def espikeformer_s(
    setting: Setting, dims: Sequence[int] = DIMS["s"], depths: Sequence[int] = (6, 2), heads: int = 8
) -> ESpikeFormer:
    """E-SpikeFormer-S for ImageNet, 5.11 M parameters; published with steps=1 (from 16x16)."""
    return ESpikeFormer(setting, dims, depths, heads)


@register_model("espikeformer_m", neuron="integer_lif")
def espikeformer_m(
    setting: Setting, dims: Sequence[int] = DIMS["m"], depths: Sequence[int] = (6, 2), heads: int = 8
) -> ESpikeFormer:
    """E-SpikeFormer-M for ImageNet, 10.02 M parameters; published with steps=1 (from 16x16)."""
    return ESpikeFormer(setting, dims, depths, heads)


@register_model("espikeformer_l", neuron="integer_lif")
def espikeformer_l(
    setting: Setting, dims: Sequence[int] = DIMS["l"], depths: Sequence[int] = (6, 2), heads: int = 8
) -> ESpikeFormer:
    """E-SpikeFormer-L for ImageNet, 18.99 M parameters; published with steps=1 (from 16x16)."""
    return ESpikeFormer(setting, dims, depths, heads)
