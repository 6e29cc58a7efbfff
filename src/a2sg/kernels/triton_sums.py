"""The table of sums per candidate as Triton kernels: a `Fill` like those of `a2sg.kernels.sums`."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels.compilers import LARGEST
from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Observation, Sums
from a2sg.kernels.triton_constants import Levels, multiprocessors, shape_of, sum_kernels
from a2sg.kernels.triton_launch import launch

BLOCK = 512
"""Elements of a block: few enough to sum in float32 and to stay in the registers of one warp."""

SLOTS = 128
"""Maximum number of candidates in a group: a program keeps the sums of one group in registers."""

PROGRAMS = 12
"""Programs per multiprocessor: as many as fit in its registers (168 per thread) at once."""

ROWS, COLUMNS = 32, 32
"""Number of partial sums added up at once, and for how many candidates."""


def takes(seen: Observation) -> bool:
    """Whether the kernels, if `available`, support the neuron's shape and size."""
    gate, potential = seen.gate, seen.potential
    known = bool(gate.thresholds) and shape_of(gate.surrogate) is not None
    return known and 0 < potential[0].numel() < LARGEST // 2


def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """One pass over the data of all steps per group of candidates; any known shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums
    are accurate to about 1e-7), then in float64, always in the same order. Gradients may be of any size:
    each block is divided by its largest. NaN or infinity in one makes the sums of every candidate NaN.
    """
    gate, potential, upstream, carry, later = seen
    layout = layout_of(potential)
    u, g = layout.flatten(potential), layout.flatten(upstream)
    c, r = (None if part is None else layout.flatten(part) for part in (carry, later))
    steps, count = candidates.shape
    known = 0 if r is None else len(r)
    groups = -(-count // SLOTS)
    each = -(-count // groups)
    at_once = PROGRAMS * multiprocessors(potential.device)
    programs = min(-(-layout.size // BLOCK), max(1, at_once // (steps * groups)))
    slots = 1 << (each - 1).bit_length()
    partial = candidates.new_empty((steps, len(Sums) - 1, programs, groups * slots))
    bounded = gate.surrogate.bounded and c is None
    queues = u.new_empty((steps, groups, programs, 3, 2 * BLOCK)) if bounded else None
    tl = sum_kernels().tl
    launch(
        sum_kernels().sums_kernel,
        (programs, steps, groups),
        potential,
        u,
        g,
        c,
        r if known else None,
        _in_groups(candidates, groups, each),
        queues,
        partial,
        layout.size,
        known,
        groups * each,
        LEVELS=Levels(gate.thresholds),
        SHAPE=shape_of(gate.surrogate),
        GROUP=each,
        SLOTS=slots,
        DTYPE=tl.float64 if potential.dtype == torch.float64 else tl.float32,
        BLOCK=BLOCK,
        num_warps=1,
        enable_fp_fusion=True,
    )
    launch(
        sum_kernels().add_kernel,
        (-(-count // COLUMNS), len(Sums), steps),
        potential,
        partial,
        table,
        table.stride(0),
        layout.size,
        programs,
        count,
        GROUP=each,
        SLOTS=slots,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=1,
        enable_fp_fusion=False,
    )


def _in_groups(candidates: Tensor, groups: int, each: int) -> Tensor:
    """Candidates `[K, groups · each]`: the last one is repeated to fill the last group."""
    missing = groups * each - candidates.shape[1]
    filled = torch.cat([candidates, candidates[:, -1:].expand(-1, missing)], 1) if missing else candidates
    return filled.contiguous()
