"""The table of sums per candidate as one compiled kernel: a `Fill` like those of `a2sg.kernels.sums`."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.kernels.compilers import LARGEST
from a2sg.kernels.fuse import Kernel, fuse
from a2sg.kernels.gate import Gate
from a2sg.kernels.layout import Layout, layout_of
from a2sg.kernels.sums import Observation, Sums

BLOCK, SMALL = 1024, 64
"""Elements of a block, few enough to sum in their own dtype and to stay in a core's L1 cache; and its least.

A smaller layer is one block: the next power of two, but no less than the least.
"""


class Plan(NamedTuple):
    """The memory layout of steps of one kind, and the kernel for them."""

    layout: Layout
    plain: bool
    """Whether that is the layout of contiguous tensors, which then need no flattening."""
    block: int
    """Elements of a block."""
    blocks: int
    """Blocks per step."""
    missing: int
    """Zeros that pad the last block."""
    kernel: Kernel

    def lay(self, part: Tensor) -> Tensor:
        """`[K, B, ...]` as the kernel reads it: in blocks, the last padded with zeros."""
        if self.missing:
            return F.pad(self.layout.flatten(part), (0, self.missing))
        return part if self.plain and part.is_contiguous() else self.layout.flatten(part)


def takes(seen: Observation) -> bool:
    """Whether the kernel computes these sums."""
    return bool(seen.gate.thresholds) and seen.potential.numel() < LARGEST


def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """One pass over the data in blocks, all candidates at each; any shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums are
    accurate to about 1e-7), then in float64. Gradients may be of any size: each block is divided by its
    largest. NaN or infinity in one makes the sums of every candidate NaN.
    """
    gate, potential, upstream, carry, later = seen
    known = 0 if later is None else later.shape[0]
    plan = _planned(
        gate,
        potential.shape,
        potential.stride(),
        carry is not None,
        known,
        potential.dtype,
        potential.device,
    )
    parts = [plan.lay(potential), plan.lay(upstream)]
    if carry is not None:
        parts.append(plan.lay(carry))
    if later is not None and known:
        parts.append(plan.lay(later))
    (found,) = plan.kernel([plan.blocks, candidates.shape[1], *parts, candidates])
    table.add_(found)
    if plan.missing:
        table[..., Sums.COUNT].sub_(plan.missing)


@lru_cache(maxsize=4096)
def _planned(
    gate: Gate,
    shape: torch.Size,
    stride: tuple[int, ...],
    carried: bool,
    known: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Plan:
    layout = layout_of(torch.empty_strided(shape, stride, device="meta"))
    plain = torch.empty_strided(layout.shape, layout.stride, device="meta").is_contiguous()
    block = min(BLOCK, max(SMALL, 1 << (layout.size - 1).bit_length()))
    blocks = -(-layout.size // block)
    kernel = _sums(gate, shape[0], carried, known, block, dtype, device)
    return Plan(layout, plain, block, blocks, blocks * block - layout.size, kernel)


@cache
def _sums(
    gate: Gate,
    steps: int,
    carried: bool,
    known: int,
    size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Kernel:
    def run(*inputs: Tensor) -> list[Tensor]:
        *parts, candidates = inputs
        u, g, *rest = parts
        c = rest.pop(0) if carried else None
        scale = _largest(g if c is None else torch.maximum(g.abs(), c.abs()))
        unit = 1 / scale
        delta = (g * unit)[:, :, None] * gate.derivative(
            u[:, :, None], candidates.to(dtype)[:, None, :, None]
        )
        if c is not None:
            delta = delta + (c * unit)[:, :, None]
        wide = scale.double()
        found = [
            torch.full_like(candidates, u.shape[1] * size),
            (delta.sum(3) * wide).sum(1),
            (delta.abs().sum(3) * wide).sum(1),
            ((delta * delta).sum(3) * (wide * wide)).sum(1),
        ]
        if known:
            r = rest.pop(0)
            # Not F.pad: it would make the number of blocks a constant.
            r = torch.cat([r, torch.zeros_like(u[known:])])
            scale = _largest(r)
            r = r * (1 / scale)
            later = scale.double()
            found.append(((delta * r[:, :, None]).sum(3) * (wide * later)).sum(1))
            square = ((r * r).sum(2, keepdim=True) * (later * later)).sum(1)
            found.append(square.expand_as(candidates))
        else:
            found += [torch.zeros_like(candidates)] * 2
        return [torch.stack(found, -1)]

    block = ((steps, "blocks", size), dtype)
    inputs = [block] * (2 + carried)
    inputs += [((known, "blocks", size), dtype)] if known else []
    return fuse(run, [*inputs, ((steps, "candidates"), torch.float64)], device)


def _largest(block: Tensor) -> Tensor:
    """The largest absolute value over the last dimension, NaN if one is; 1 if its inverse would overflow."""
    largest = block.abs().amax(-1, keepdim=True)
    return torch.where(largest < torch.finfo(block.dtype).tiny, 1, largest)
