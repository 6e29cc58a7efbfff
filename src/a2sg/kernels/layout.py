"""Any dense `[T, ...]` tensor as `[T, N]` in memory order, without a copy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Shape and strides of a tensor, dense in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def dense(self, x: Tensor) -> Tensor:
        """`x` with this shape and these strides; copied only if it has others."""
        if x.stride() == self.stride and x.shape == self.shape:
            return x
        return torch.empty_strided(self.shape, self.stride, dtype=x.dtype, device=x.device).copy_(x)

    def restore(self, flat: Tensor) -> Tensor:
        """Contiguous data in this shape again, without a copy."""
        return flat.as_strided(self.shape, self.stride)


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

    @property
    def step(self) -> Place:
        """`[B, ...]`."""
        return Place(self.shape, self.stride)

    def steps(self, count: int) -> Place:
        """`[T, B, ...]`."""
        return Place((count, *self.shape), (self.size, *self.stride))

    def joined(self, count: int) -> Place:
        """`[T·B, ...]`."""
        return Place((count * self.shape[0], *self.shape[1:]), self.stride)

    def flatten(self, x: Tensor) -> Tensor:
        """`[T, B, ...]` as `[T, N]`; copied only if it is laid out differently."""
        return self.steps(len(x)).dense(x).as_strided((len(x), self.size), (self.size, 1))

    def restore(self, flat: Tensor) -> Tensor:
        """`[T, ...]` with N elements per step in this shape again, without a copy."""
        return self.steps(len(flat)).restore(flat)


def layout_of(x: Tensor, *, channels: bool = False) -> Layout:
    """The layout of a step of `x` if that is dense (channels-last included), else the contiguous one.

    Args:
        x: `[T, B, ...]`.
        channels: whether `channels_last` must be meaningful: `[B, C, ...]`, contiguous or channels-last.
    """
    step = x[0]
    if not step.is_contiguous():
        last = step.dim() > 2 and step.movedim(1, -1).is_contiguous()
        if not last and (channels or not _dense(step)):
            step = torch.empty(step.shape, device="meta")
    stride, size = step.stride(), step.numel()
    if step.dim() and len(step) == 1:  # torch then leaves its stride open, but `joined` steps over it
        stride = (size, *stride[1:])
    return Layout(step.shape, stride, size)


def _dense(step: Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(step.stride(), step.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
