"""The table of sums per candidate as a Triton kernel: a `Fill` like those of `a2sg.kernels.sums`."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Observation, Sums
from a2sg.kernels.triton_constants import Levels, kernels, shape_of

BLOCK = 512
"""Elements of a block: few enough for float32 sums, and to stay in the registers of one warp."""

SLOTS = 64
"""Candidates of a group at most: a program has the sums of one group in registers."""

PROGRAMS = 4096
"""Programs at most, that is partial sums to add up in the end; enough to fill a large GPU."""


def fill(seen: Observation, candidates: Tensor) -> Tensor:
    """One pass over the data per group of candidates; any known shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums
    are good to about 1e-7), then in float64, always in the same order. Gradients may be of any size:
    blocks are scaled to their largest. NaN or infinity in one makes the sums of every candidate NaN.
    """
    gate, potential, *others = seen
    layout = layout_of(potential[None])
    u, g, c, r = (None if part is None else layout.flatten(part[None]) for part in (potential, *others))
    size, count = potential.numel(), len(candidates)
    groups = -(-count // SLOTS)
    programs = min(-(-size // BLOCK), max(1, PROGRAMS // groups))
    each = -(-count // groups)
    partial = candidates.new_empty((programs, len(Sums) - 1, groups, SLOTS), dtype=torch.float64)
    tl = kernels().tl
    with torch.cuda.device_of(potential):
        kernels().sums_kernel[(programs, groups)](
            u,
            g,
            c,
            r,
            candidates.contiguous(),
            partial,
            size,
            count,
            LEVELS=Levels(gate.thresholds),
            SHAPE=shape_of(gate.surrogate),
            GROUP=each,
            SLOTS=SLOTS,
            DTYPE=tl.float64 if potential.dtype == torch.float64 else tl.float32,
            BLOCK=BLOCK,
            num_warps=1,
            enable_fp_fusion=False,
        )
    table = partial.new_full((count, len(Sums)), size)
    table[:, Sums.DELTA :] = partial.sum(0)[..., :each].flatten(1)[:, :count].T
    return table
