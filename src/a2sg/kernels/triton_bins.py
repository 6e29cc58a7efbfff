"""The table of sums per candidate from moments per gap, as Triton kernels: for straight lines in a window."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels import triton_sums
from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Observation
from a2sg.kernels.triton_constants import bin_kernels, multiprocessors, shape_of
from a2sg.kernels.triton_launch import launch
from a2sg.surrogate import WindowedAffine

TILE = 16
"""Gaps of a group: a program keeps nine moments of each in registers while it sums a queue."""

QUEUES = 7
"""Maximum number of groups: the number of elements that a block adds to each share the bits of one number."""

FULL = 512
"""Elements of a queue that is summed."""

BLOCK = 256
"""Elements read at once."""

REGISTERS = 168
"""Maximum number of registers per thread; what does not fit is spilled outside the innermost loops."""

PROGRAMS = 12
"""Programs per multiprocessor: as many as fit in its registers at once."""

COLUMNS = 16
"""Candidates for which one program computes the sums from the moments."""

MOST = TILE * QUEUES
"""Maximum number of candidates at once."""


def takes(seen: Observation) -> bool:
    """Whether the kernels support it: a straight line, one threshold, no carry, at most float32."""
    gate = seen.gate
    line = isinstance(gate.surrogate, WindowedAffine) and len(gate.thresholds) == 1
    return line and seen.carry is None and seen.potential.dtype != torch.float64 and triton_sums.takes(seen)


def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """Read all steps once, whatever the number of candidates.

    Moments are added in float32 within queues of `FULL` elements, then in float64, always in the same order.
    Gradients may be of any size. NaN or infinity in one makes the sums of every candidate NaN.
    """
    _, potential, upstream, _, later = seen
    layout = layout_of(potential)
    u, g = layout.flatten(potential), layout.flatten(upstream)
    r = None if later is None or not len(later) else layout.flatten(later)
    for first in range(0, candidates.shape[1], MOST):
        columns = slice(first, first + MOST)
        _fill(seen, u, g, r, candidates[:, columns].contiguous(), table[:, columns])


def _fill(
    seen: Observation, u: Tensor, g: Tensor, r: Tensor | None, candidates: Tensor, table: Tensor
) -> None:
    steps, count = candidates.shape
    size = u.shape[1]
    queues = -(-count // TILE)
    width = 1 << max(count, queues * TILE - 1).bit_length()  # so that infinity ends every row
    shape = shape_of(seen.gate.surrogate)
    assert shape is not None
    edges = candidates.new_full((steps, width), torch.inf, dtype=torch.float32)
    edges[:, :count] = candidates.to(torch.float32).sort(1).values
    at_once = PROGRAMS * multiprocessors(u.device)
    programs = min(-(-size // BLOCK), max(1, at_once // steps))
    partial = candidates.new_zeros((steps, programs, queues, 9, TILE))
    others = candidates.new_empty((steps, programs, 2))
    space = u.new_empty((steps, programs, queues, 3, 2 * FULL), dtype=torch.float32)
    launch(
        bin_kernels().gaps_kernel,
        (programs, steps),
        u,
        u,
        g,
        r,
        edges,
        space,
        partial,
        others,
        size,
        0 if r is None else len(r),
        count,
        THRESHOLD=seen.gate.thresholds[0],
        ABSOLUTE=shape.kind == "affine_abs",
        EDGES=width,
        QUEUES=queues,
        SLOTS=1 << max(1, queues - 1).bit_length(),
        TILE=TILE,
        FULL=FULL,
        BLOCK=BLOCK,
        LANES=32,
        num_warps=1,
        **({} if torch.version.hip else {"maxnreg": REGISTERS}),
        enable_fp_fusion=True,
    )
    launch(
        bin_kernels().windows_kernel,
        (-(-count // COLUMNS), steps),
        u,
        partial.sum(1),
        others.sum(1),
        edges,
        candidates,
        table,
        table.stride(0),
        size,
        count,
        SHAPE=shape,
        EDGES=width,
        QUEUES=queues,
        TILE=TILE,
        COLUMNS=COLUMNS,
        num_warps=1,
        enable_fp_fusion=False,
    )
