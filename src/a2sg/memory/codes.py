"""Lossless codes for the few values that spikes take: one bit, or one byte, for each float."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from a2sg.devices import answers_at_once
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.triton_constants import available

Given = ParamSpec("Given")
Found = TypeVar("Found")

BLOCK = 1 << 18
"""Elements coded at once on the CPU, so that temporaries stay in the cache; elsewhere 64 times as many."""

PER_UNIT = 16
"""A byte counts sixteenths: average-pooled spikes and integer spikes are multiples of 1/2, 1/4 or 1/16."""

FORMATS = {
    torch.float64: (torch.int64, 0x3FF0000000000000),
    torch.float32: (torch.int32, 0x3F800000),
    torch.float16: (torch.int16, 0x3C00),
    torch.bfloat16: (torch.int16, 0x3F80),
}
"""The integer type of the same size, and what 1.0 is in it: compared so, -0 is not 0."""

log = logging.getLogger("a2sg")

_broken: list[str] = []
"""Why compiling the kernels has failed in this process."""


@dataclass(frozen=True)
class Code:
    """How to store certain floats in bytes, and restore them to the bit. Tensors here are flat."""

    per_byte: int
    """Elements in a byte."""
    pack: Callable[[Tensor, bool], Tensor | None]
    """The bytes of a block; None if bytes cannot restore a value in it; not checked if `known`."""
    unpack: Callable[[Tensor, Tensor], object]
    """Writes the elements that some bytes stand for."""

    def encode(self, flat: Tensor, *, known: bool = False) -> Tensor | None:
        """All of `flat` in bytes; None if any element does not fit. What is `known` to fit is not checked."""
        data = torch.empty(-(-len(flat) // self.per_byte), dtype=torch.uint8, device=flat.device)
        for at in self._blocks(data):
            block = self.pack(flat[at.start * self.per_byte : at.stop * self.per_byte], known)
            if block is None:
                return None
            data[at] = block
        return data

    def decode(self, data: Tensor, dtype: torch.dtype) -> Tensor:
        """The encoded elements; there may be extra ones at the end, which fill the last byte."""
        flat = torch.empty(len(data) * self.per_byte, dtype=dtype, device=data.device)
        for at in self._blocks(data):
            self.unpack(data[at], flat[at.start * self.per_byte : at.stop * self.per_byte])
        return flat

    def _blocks(self, data: Tensor) -> Iterator[slice]:
        size = (BLOCK if data.device.type == "cpu" else 64 * BLOCK) // self.per_byte
        return (slice(start, min(start + size, len(data))) for start in range(0, len(data), size))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether all elements are the same to the bit."""
    integer, _ = FORMATS[a.dtype]
    a, b = a.view(integer), b.view(integer)
    # On the CPU numpy is several times faster, here and below.
    return np.array_equal(a.numpy(), b.numpy()) if a.device.type == "cpu" else torch.equal(a, b)


def to_bits(block: Tensor, known: bool = False) -> Tensor | None:
    """Zeros and ones in bits, the first in the lowest."""
    if not answers_at_once(block.device):
        return _there(block.device, to_bits_by_kernel, to_bits_on_device)(block, known)
    integer, one = FORMATS[block.dtype]
    integers = block.view(integer).numpy()
    bits = integers != 0
    if not known and not np.array_equal(bits, integers == one):
        return None
    return torch.from_numpy(np.packbits(bits, bitorder="little"))


def to_bits_on_device(block: Tensor, known: bool = False) -> Tensor | None:
    """The same in torch."""
    integer, one = FORMATS[block.dtype]
    integers = block.view(integer)
    bits = integers != 0
    if not known and not torch.equal(bits, integers == one):
        return None
    eights = torch.nn.functional.pad(bits, (0, -len(bits) % 8)).view(torch.int64)
    # The product moves the lowest bit of byte i to bit 56 + i, and no two bits meet anywhere.
    return (eights * 0x0102040810204080).bitwise_right_shift_(56).to(torch.uint8)


def to_bits_by_kernel(block: Tensor, known: bool = False) -> Tensor | None:
    """The same in one Triton kernel."""
    from a2sg.memory import triton_codes

    integer, one = FORMATS[block.dtype]
    return triton_codes.pack(block.view(integer), one, check=not known)


def from_bits(data: Tensor, out: Tensor) -> None:
    """Eight elements for each byte."""
    if answers_at_once(data.device):
        out.copy_(torch.from_numpy(np.unpackbits(data.numpy(), bitorder="little")))
    else:
        _there(data.device, from_bits_by_kernel, from_bits_on_device)(data, out)


def from_bits_on_device(data: Tensor, out: Tensor) -> None:
    """The same in torch."""
    out.copy_(((data[:, None] >> torch.arange(8, dtype=torch.uint8, device=data.device)) & 1).flatten())


def from_bits_by_kernel(data: Tensor, out: Tensor) -> None:
    """The same in one Triton kernel."""
    from a2sg.memory import triton_codes

    integer, one = FORMATS[out.dtype]
    triton_codes.unpack(data, out.view(integer), one)


def _there(
    device: torch.device, kernel: Callable[Given, Found], in_torch: Callable[Given, Found]
) -> Callable[Given, Found]:
    """The kernel, which gives way to torch once it cannot be compiled; or torch where there is none."""

    def run(*given: Given.args, **options: Given.kwargs) -> Found:
        if available(device.type) and not _broken:
            try:
                return kernel(*given, **options)
            except FusionError as error:
                _broken.append(error.reason)
                log.warning("torch packs the spikes: %s", error.reason)
        return in_torch(*given, **options)

    return run


def to_bytes(block: Tensor, known: bool = False) -> Tensor | None:
    """Multiples of 1/16 from 0 to 255/16, one byte each."""
    data = (block * PER_UNIT).to(torch.int32).to(torch.uint8)  # straight to bytes is slower
    if known:
        return data
    back = torch.empty_like(block)
    from_bytes(data, back)
    return data if same_bits(back, block) else None


def from_bytes(data: Tensor, out: Tensor) -> None:
    """One element for each byte."""
    out.copy_(data).div_(PER_UNIT)


BITS = Code(8, to_bits, from_bits)
BYTES = Code(1, to_bytes, from_bytes)
"""Holds whatever `BITS` can, and more."""
