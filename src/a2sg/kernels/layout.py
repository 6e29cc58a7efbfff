"""Any dense `[T, ...]` tensor as `[T, N]` in the order of its memory, without a copy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Shape and strides of a dense tensor whose steps follow each other in memory."""

    shape: torch.Size
    stride: tuple[int, ...]

    def flatten(self, x: Tensor) -> Tensor:
        """`x` as `[T, N]`; copied only if it is laid out differently."""
        if tuple(x.stride()) != self.stride or x.shape != self.shape:
            x = torch.empty_strided(self.shape, self.stride, dtype=x.dtype, device=x.device).copy_(x)
        steps = self.shape[0]
        return x.as_strided((steps, x.numel() // max(1, steps)), (x.numel() // max(1, steps), 1))

    def restore(self, flat: Tensor) -> Tensor:
        """`[T, N]` in this shape again, without a copy."""
        return flat.as_strided(self.shape, self.stride)

    def step(self) -> Layout:
        """The layout of one step `[1, B, ...]`, for a state."""
        return Layout(torch.Size((1, *self.shape[1:])), (self.stride[0], *self.stride[1:]))


def layout_of(x: Tensor) -> Layout:
    """The layout of `x` if it is dense with time outermost (channels-last included), else contiguous."""
    if _dense(x):
        return Layout(x.shape, tuple(x.stride()))
    return Layout(x.shape, tuple(torch.empty(x.shape, device="meta").stride()))


def _dense(x: Tensor) -> bool:
    if x.is_contiguous():
        return True
    if x.numel() == 0 or x.stride(0) * x.shape[0] != x.numel():
        return False
    expected = 1
    for stride, size in sorted(zip(x.stride()[1:], x.shape[1:], strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
