"""Attention between spikes, without softmax, over `[T, B, C, H, W]`: every pixel is a token."""

from __future__ import annotations

from torch import Tensor, nn

from a2sg.errors import require, require_count
from a2sg.models.blocks import linear
from a2sg.models.setting import Setting

THRESHOLD = 0.5
"""Threshold of the neurons that attention drives, whatever the others have, as published."""


class SpikeProduct(nn.Module):
    """(q kᵀ) v · scale in every head and step, computed in the cheaper order, as there is no softmax between.

    Args:
        heads: into which the channels are divided.
        scale: factor on the products.
    """

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[T, B, C', H, W]` from query and key `[T, B, C, H, W]` and value `[T, B, C', H, W]`."""
        q, k, v = self.per_head(query, key, value)
        if keys_meet_values(q.shape[-2], q.shape[-1], v.shape[-2]):
            mixed = (v @ k.transpose(-1, -2)) @ q
        else:
            mixed = v @ (k.transpose(-1, -2) @ q)
        return (mixed * self.scale).reshape(value.shape)

    def per_head(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each as `[T, B, heads, d, N]`: the transpose of the formula, since channels come before tokens."""
        q, k, v = (x.flatten(3).unflatten(2, (self.heads, -1)) for x in (query, key, value))
        return q, k, v

    def extra_repr(self) -> str:
        return f"heads={self.heads}, scale={self.scale:g}"


def keys_meet_values(features: int, tokens: int, values: int) -> bool:
    """Whether q (kᵀ v) is the cheaper order, for heads of q and k `[N, d]` and v `[N, d']`."""
    return 2 * features * values < tokens * (features + values)


class SelfAttention(nn.Module):
    """Spiking self-attention: projection(neuron((q kᵀ) v · scale)).

    Args:
        query: spikes q of the input.
        key: k.
        value: v.
        product: mixes the three.
        neuron: fires on the mixture.
        projection: the last layer.
    """

    def __init__(
        self,
        query: nn.Module,
        key: nn.Module,
        value: nn.Module,
        product: SpikeProduct,
        neuron: nn.Module,
        projection: nn.Module,
    ) -> None:
        super().__init__()
        self.query = query
        self.key = key
        self.value = value
        self.product = product
        self.neuron = neuron
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.neuron(self.product(self.query(x), self.key(x), self.value(x))))


class TokenAttention(nn.Module):
    """Q-K token attention: a neuron per head fires on the sum of q and gates k (Zhou et al., QKFormer, 2024).

    Args:
        heads: into which the channels are divided.
        query: spikes q of the input.
        key: k.
        neuron: the gate.
        projection: the last layer.
    """

    def __init__(
        self, heads: int, query: nn.Module, key: nn.Module, neuron: nn.Module, projection: nn.Module
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = query
        self.key = key
        self.neuron = neuron
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        q, k = (spikes.unflatten(2, (self.heads, -1)) for spikes in (self.query(x), self.key(x)))
        gate = self.neuron(q.sum(3, keepdim=True))
        return self.projection((gate * k).flatten(2, 3))


def self_attention(setting: Setting, channels: int, heads: int, scale: float = 0.125) -> SelfAttention:
    """The attention of Spikformer (Zhou et al., 2023): all layers are linear-BN-LIF of `channels`."""
    require_heads(channels, heads)
    return SelfAttention(
        linear(setting, channels, channels),
        linear(setting, channels, channels),
        linear(setting, channels, channels),
        product=SpikeProduct(heads, scale),
        neuron=setting.neuron(threshold=THRESHOLD),
        projection=linear(setting, channels, channels, bias=True),
    )


def token_attention(setting: Setting, channels: int, heads: int) -> TokenAttention:
    """The attention of QKFormer's first stages: all layers are linear-BN-LIF of `channels`."""
    require_heads(channels, heads)
    return TokenAttention(
        heads,
        linear(setting, channels, channels),
        linear(setting, channels, channels),
        neuron=setting.neuron(threshold=THRESHOLD),
        projection=linear(setting, channels, channels, bias=True),
    )


def require_heads(channels: int, heads: int) -> None:
    """Raise `InputError` unless `channels` can be divided into `heads`."""
    require_count("heads", heads)
    require(
        channels % heads == 0,
        f"attention over {channels} channels cannot be divided into heads={heads}: choose a dim (or heads) "
        "that can",
    )
