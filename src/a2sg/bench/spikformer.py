"""What it takes to build Spikformer from SpikingJelly's layers too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from a2sg.models.attention import SelfAttention
from a2sg.models.blocks import ResidualChain

GRAIN = 24
"""The least number of channels that can be halved three times and divided into 12 heads."""


def sizes(width: float) -> dict[str, Any]:
    """The options that make Spikformer-4-384 `width` times as wide, to the nearest `GRAIN`."""
    return {"dim": GRAIN * max(1, round(384 * width / GRAIN))}


def translated(module: nn.Module, inner: Callable[[nn.Module], nn.Module]) -> nn.Module | None:
    """A residual chain or attention whose layers are replaced by the results of `inner`; None for others.

    Neither has its own weights: only sums and the product of q, k and v remain ours.
    """
    if isinstance(module, ResidualChain):
        return ResidualChain({name: inner(branch) for name, branch in module.items()})
    if isinstance(module, SelfAttention):
        return SelfAttention(
            inner(module.query),
            inner(module.key),
            inner(module.value),
            product=module.product,
            neuron=inner(module.neuron),
            projection=inner(module.projection),
        )
    return None
