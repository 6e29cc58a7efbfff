"""The table of sums per candidate as one compiled kernel: a `Fill` like those of `a2sg.kernels.sums`."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.kernels.compilers import LARGEST
from a2sg.kernels.fuse import Kernel, fuse
from a2sg.kernels.gate import Gate
from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Observation, Sums

BLOCK, SMALL = 1024, 64
"""Elements of a block: few enough for sums in their own dtype, and to stay in a core's first cache.

The small one is for layers that would be filled up with more zeros than they have elements.
"""


def takes(seen: Observation) -> bool:
    """Whether the kernel computes these sums."""
    return bool(seen.gate.thresholds) and seen.potential.numel() < LARGEST


def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """One pass over the data in blocks, all candidates at each; any shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums are
    good to about 1e-7), then in float64. Gradients may be of any size: a block is scaled to its largest. NaN
    or infinity in one makes the sums of every candidate NaN.
    """
    gate, potential, upstream, carry, later = seen
    layout = layout_of(potential)
    known = 0 if later is None else len(later)
    parts = (potential, upstream, carry, later if known else None)
    block = SMALL if 2 * layout.size <= BLOCK else BLOCK
    blocks = [_blocks(layout.flatten(part), block) for part in parts if part is not None]
    run = _sums(gate, len(potential), carry is not None, known, block, potential.dtype, potential.device)
    (found,) = run(blocks[0].shape[1], candidates.shape[1], *blocks, candidates)
    table[..., Sums.COUNT] += layout.size
    table[..., Sums.DELTA :] += found


def _blocks(flat: Tensor, size: int) -> Tensor:
    """`[K, blocks, size]`; the last is filled up with zeros, whose gradient is zero."""
    missing = -flat.shape[1] % size
    return (F.pad(flat, (0, missing)) if missing else flat).view(len(flat), -1, size)


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
            (delta.sum(3) * wide).sum(1),
            (delta.abs().sum(3) * wide).sum(1),
            ((delta * delta).sum(3) * (wide * wide)).sum(1),
        ]
        if known:
            r = rest.pop(0)
            # Not F.pad, which would fix the number of blocks.
            r = torch.cat([r, torch.zeros_like(u[known:])])
            scale = _largest(r)
            r = r * (1 / scale)
            later = scale.double()
            found.append(((delta * r[:, :, None]).sum(3) * (wide * later)).sum(1))
            square = ((r * r).sum(2, keepdim=True) * (later * later)).sum(1)
            found.append(square.expand_as(found[0]))
        else:
            found += [torch.zeros_like(found[0])] * 2
        return [torch.stack(found, -1)]

    block = ((steps, "blocks", size), dtype)
    inputs = [block] * (2 + carried)
    inputs += [((known, "blocks", size), dtype)] if known else []
    return fuse(run, [*inputs, ((steps, "candidates"), torch.float64)], device)


def _largest(block: Tensor) -> Tensor:
    """The largest size over the last dimension, NaN where one is; 1 where its inverse would overflow."""
    largest = block.abs().amax(-1, keepdim=True)
    return torch.where(largest < torch.finfo(block.dtype).tiny, 1, largest)
