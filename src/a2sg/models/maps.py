"""Memory formats of feature maps `[N, C, H, W]`, and pooling that stores none of them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE_MAP = 8 * 8
"""Pixels from which channels-last pays off on a CPU (`docs/decisions.md`)."""


def format_of(x: Tensor) -> torch.memory_format:
    """The memory format of `x`: channels-last or contiguous."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def best_format(x: Tensor, layer: nn.Conv2d) -> torch.memory_format:
    """The format in which the convolution `layer` of `x` is fastest, and safe.

    On a CPU that depends on the size of the map; what `overruns` stays contiguous. On a GPU channels-last
    suits the tensor cores, which half precision uses.
    """
    if x.device.type == "cpu":
        last = x.shape[2] * x.shape[3] >= LARGE_MAP and not overruns(layer)
    else:
        last = x.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled(x.device.type)
    return torch.channels_last if last else torch.contiguous_format


def overruns(layer: nn.Conv2d) -> bool:
    """Whether torch's backward pass writes beyond its memory, and crashes, in channels-last on a CPU.

    oneDNN does so for the weights of 1x1 convolutions with a stride and fewer than 16 input channels (seen
    in torch 2.13, not with 16 and more).
    """
    return layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.in_channels < 16


class AveragePool(nn.AvgPool2d):
    """Average pooling that keeps only its input's shape for the backward pass; torch keeps all the input."""

    def forward(self, input: Tensor) -> Tensor:
        pooled: Tensor = _AveragePool.apply(
            input,
            _pair(self.kernel_size),
            _pair(self.stride),
            _pair(self.padding),
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
        return pooled


class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *options: Any) -> Tensor:
        ctx.options = options
        ctx.shape, ctx.format = x.shape, format_of(x)
        return F.avg_pool2d(x, *options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, stride, padding, _, _, divisor = ctx.options
        height, width = ctx.shape[-2:]
        whole = (height % kernel[0], width % kernel[1], *padding) == (0, 0, 0, 0)
        if kernel == stride and whole and divisor is None:
            # Every pixel is in one window, so its gradient is copied; torch would clear first and then add.
            spread = F.interpolate(grad / math.prod(kernel), size=(height, width), mode="nearest")
            return spread, *(None for _ in ctx.options)
        # Only its shape and strides are used, not its values.
        x = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.format)
        grad = grad.contiguous(memory_format=ctx.format)
        return torch.ops.aten.avg_pool2d_backward(grad, x, *ctx.options), *(None for _ in ctx.options)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
