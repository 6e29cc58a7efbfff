"""Spikes to bits and back, one Triton kernel each way. Imports triton: `codes` imports this, late."""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from a2sg.kernels.triton_launch import launch

BLOCK = 512
"""Bytes of a program: 4096 elements, 16 bytes of them a thread and load."""

WARPS = 4


@triton.jit
def pack_kernel(values, data, odd, size, ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Bits of integers `[size]` that are 0 or ONE, the first in the lowest, in bytes.

    Sets `odd` `[1]` to 1 if any is neither; None checks nothing.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    bit = tl.arange(0, 8)[None, :]
    place = at[:, None] * 8 + bit
    found = tl.load(values + place, mask=place < size, other=0)
    spikes = (found != 0).to(tl.int32)
    if odd is not None:
        other = tl.max(tl.max(tl.where(found == ONE, 0, spikes), 1), 0)
        tl.store(odd, other, mask=other > 0)  # every program that writes, writes 1
    tl.store(data + at, tl.sum(spikes << bit, 1).to(tl.uint8), mask=at * 8 < size)


@triton.jit
def unpack_kernel(data, values, size, ONE: tl.constexpr, BLOCK: tl.constexpr):
    """The integers `[size]` of bits, 0 or ONE."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    bit = tl.arange(0, 8)[None, :]
    place = at[:, None] * 8 + bit
    bits = tl.load(data + at, mask=at * 8 < size, other=0).to(tl.int32)
    spikes = (bits[:, None] >> bit) & 1
    tl.store(values + place, spikes.to(values.dtype.element_ty) * ONE, mask=place < size)


def pack(integers: Tensor, one: int, *, check: bool) -> Tensor | None:
    """Bytes of flat integers; None if `check` finds any that is neither 0 nor `one`."""
    size = len(integers)
    data = integers.new_empty(-(-size // 8), dtype=torch.uint8)
    odd = integers.new_zeros(1, dtype=torch.int32) if check else None
    _launch(pack_kernel, len(data), integers, data, odd, size, ONE=one)
    return None if odd is not None and odd.item() else data


def unpack(data: Tensor, integers: Tensor, one: int) -> None:
    """Write the values of the bits of `data`, 0 or `one`, to flat integers."""
    _launch(unpack_kernel, len(data), data, integers, len(integers), ONE=one)


def _launch(kernel: Any, count: int, near: Tensor, *data: object, **constants: int) -> None:
    """Run a kernel over `count` bytes."""
    launch(
        kernel,
        (-(-count // BLOCK),),
        near,
        near,
        *data,
        **constants,
        BLOCK=BLOCK,
        num_warps=WARPS,
        enable_fp_fusion=False,
    )
