"""Any dense `[T, ...]` tensor as `[T, N]` in the order of its memory, without a copy."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Shape and strides of one step `[B, ...]`, dense in memory; steps follow each other."""

    shape: torch.Size
    stride: tuple[int, ...]
    size: int
    """N, the elements of a step."""

    @property
    def features(self) -> int:
        """Elements after which channels come round again: C, or C times space where space is innermost."""
        space = math.prod(self.shape[2:])
        return self.shape[1] * (1 if self.stride[1] == 1 else space)

    def flatten(self, x: Tensor) -> Tensor:
        """`[T, B, ...]` as `[T, N]`; copied only if it is laid out differently."""
        return self.arrange(x, (self.size,), (self.size, 1))

    def arrange(self, x: Tensor, sizes: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        """As `flatten`, with the N elements of a step as `sizes`, at contiguous `strides` `[T, *sizes]`."""
        steps = x.shape[0]
        own = (self.size, *self.stride)
        if x.stride() != own or x.shape[1:] != self.shape:
            x = torch.empty_strided((steps, *self.shape), own, dtype=x.dtype, device=x.device).copy_(x)
        return x.as_strided((steps, *sizes), strides)

    def restore(self, flat: Tensor) -> Tensor:
        """`[T, ...]` of N elements a step in this shape again, without a copy."""
        return flat.as_strided((flat.shape[0], *self.shape), (self.size, *self.stride))

    def spread(self, values: Tensor) -> Tensor:
        """A value per channel `[C]` as one per feature."""
        each = self.features // self.shape[1]
        return values if each == 1 else values[:, None].expand(-1, each).reshape(-1)


def layout_of(x: Tensor, *, channels: bool = False) -> Layout:
    """The layout of a step of `x` if that is dense (channels-last included), else the contiguous one.

    Args:
        x: `[T, B, ...]`.
        channels: whether `features` must make sense: the step is `[B, C, ...]`, contiguous or channels-last.
    """
    step = x[0]
    if not step.is_contiguous():
        last = step.dim() > 2 and step.movedim(1, -1).is_contiguous()
        if not last and (channels or not _dense(step)):
            step = torch.empty(step.shape, device="meta")
    return Layout(step.shape, step.stride(), step.numel())


def _dense(step: Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(step.stride(), step.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
