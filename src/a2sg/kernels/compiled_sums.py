"""The table of sums per candidate as one compiled kernel: a `Fill` like those of `a2sg.kernels.sums`."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.kernels.fuse import Kernel, fuse
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Observation, Sums

BLOCK = 1024
"""Elements of a block: few enough for sums in their own dtype, and to stay in a core's first cache."""


def fill(seen: Observation, candidates: Tensor) -> Tensor:
    """One pass over the data in blocks, all candidates at each; any shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums are
    good to about 1e-7), then in float64. Gradients may be of any size: a block is scaled to its largest. NaN
    or infinity in one makes the sums of every candidate NaN.
    """
    gate, potential, *others = seen
    blocks = [_blocks(part) for part in (potential, *others) if part is not None]
    run = _sums(gate, seen.carry is not None, seen.later is not None, potential.dtype, potential.device)
    found = run(len(blocks[0]), len(candidates), *blocks, candidates.to(potential.dtype))
    table = torch.zeros(len(candidates), len(Sums), dtype=torch.float64, device=potential.device)
    table[:, Sums.COUNT] = potential.numel()
    for column, values in zip(list(Sums)[1:], found, strict=False):
        table[:, column] = values
    return table


def _blocks(part: Tensor) -> Tensor:
    """`[blocks, BLOCK]`; the last is filled up with zeros, whose gradient is zero."""
    flat = part.reshape(-1)
    missing = -len(flat) % BLOCK
    return (F.pad(flat, (0, missing)) if missing else flat).view(-1, BLOCK)


@cache
def _sums(gate: Gate, carried: bool, temporal: bool, dtype: torch.dtype, device: torch.device) -> Kernel:
    def run(*inputs: Tensor) -> list[Tensor]:
        *parts, candidates = inputs
        u, g, *rest = parts
        c = rest.pop(0) if carried else None
        scale = _largest(g if c is None else torch.maximum(g.abs(), c.abs()))
        unit = 1 / scale
        delta = (g * unit)[:, None] * gate.derivative(u[:, None], candidates[None, :, None])
        if c is not None:
            delta = delta + (c * unit)[:, None]
        wide = scale.double()
        found = [
            (delta.sum(2) * wide).sum(0),
            (delta.abs().sum(2) * wide).sum(0),
            ((delta * delta).sum(2) * (wide * wide)).sum(0),
        ]
        if temporal:
            r = rest.pop(0)
            scale = _largest(r)
            r = r * (1 / scale)
            later = scale.double()
            found += [
                ((delta * r[:, None]).sum(2) * (wide * later)).sum(0),
                ((r * r).sum(1, keepdim=True) * (later * later)).sum(0),
            ]
        return found

    block = (("blocks", BLOCK), dtype)
    inputs = [block] * (2 + carried + temporal)
    return fuse(run, [*inputs, (("candidates",), dtype)], device)


def _largest(block: Tensor) -> Tensor:
    """The largest size in each block `[blocks, 1]`, NaN where one is; 1 where its inverse would overflow."""
    largest = block.abs().amax(1, keepdim=True)
    return torch.where(largest < torch.finfo(block.dtype).tiny, 1, largest)
