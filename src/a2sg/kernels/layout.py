"""Any dense `[T, ...]` tensor as `[T, N]` in the order of its memory, without a copy."""

from __future__ import annotations

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
    def channels_last(self) -> bool:
        """Whether the channels of `[B, C, ...]` are innermost."""
        return self.stride[1] == 1

    def dense(self, x: Tensor) -> Tensor:
        """`[T, B, ...]` or a step `[B, ...]` in the memory of this layout; copied only if it is not."""
        own = self.stride if x.dim() == len(self.stride) else (self.size, *self.stride)
        if x.stride() == own and x.shape[-len(self.shape) :] == self.shape:
            return x
        return torch.empty_strided(x.shape, own, dtype=x.dtype, device=x.device).copy_(x)

    def flatten(self, x: Tensor) -> Tensor:
        """`[T, B, ...]` as `[T, N]`; copied only if it is laid out differently."""
        return self.dense(x).as_strided((x.shape[0], self.size), (self.size, 1))

    def restore(self, flat: Tensor) -> Tensor:
        """`[T, ...]` of N elements a step in this shape again, without a copy."""
        return flat.as_strided((flat.shape[0], *self.shape), (self.size, *self.stride))


def layout_of(x: Tensor, *, channels: bool = False) -> Layout:
    """The layout of a step of `x` if that is dense (channels-last included), else the contiguous one.

    Args:
        x: `[T, B, ...]`.
        channels: whether `channels_last` must make sense: the step is `[B, C, ...]`, contiguous or channels-last.
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
