"""The table of sums per candidate as a matrix product on tensor cores: for straight lines in a window."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Observation
from a2sg.kernels.triton_constants import kernels, multiprocessors, product_kernels, shape_of
from a2sg.kernels.triton_launch import launch

ROWS = 16
"""Candidates of a group: the rows of a tensor core's tile."""

GROUPS = 7
"""Maximum number of groups at once: a program keeps 16 sums of each candidate in registers."""

READ = 256
"""Elements read at once, at least two blocks."""

BLOCK = 64
"""Elements multiplied at once."""

CHUNK = 16384
"""Maximum number of elements per program: their sums are float32."""

REGISTERS = 255
"""Maximum registers per thread. With fewer, the compiler puts products that need each other in a row."""

PROGRAMS = 8
"""Programs per multiprocessor: as many as fit in its registers at once."""

COLUMNS = 16
"""Candidates for which one program computes the sums from the moments."""


def fill(seen: Observation, candidates: Tensor, table: Tensor) -> None:
    """What `triton_bins.fill` does, in another way; it takes the same observations.

    Moments are added in float32 within `CHUNK` elements, then in float64, always in the same order.
    Gradients may be of any size. NaN or infinity in one makes the sums of every candidate NaN.
    """
    _, potential, upstream, _, later = seen
    layout = layout_of(potential)
    u, g = layout.flatten(potential), layout.flatten(upstream)
    r = None if later is None or not len(later) else layout.flatten(later)
    for first in range(0, candidates.shape[1], ROWS * GROUPS):
        columns = slice(first, first + ROWS * GROUPS)
        _fill(seen, u, g, r, candidates[:, columns].contiguous(), table[:, columns])


def _fill(
    seen: Observation, u: Tensor, g: Tensor, r: Tensor | None, candidates: Tensor, table: Tensor
) -> None:
    steps, count = candidates.shape
    size = u.shape[1]
    groups = -(-count // ROWS)
    width = groups * ROWS
    shape = shape_of(seen.gate.surrogate)
    assert shape is not None
    reach = candidates.new_full((steps, width), -1, dtype=torch.float32)
    reach[:, :count] = candidates
    chunk = _chunk(size, steps, PROGRAMS * multiprocessors(u.device))
    programs = -(-size // chunk)
    partial = candidates.new_empty((steps, programs, width, 9))
    others = candidates.new_empty((steps, programs, 2))
    queue = u.new_empty((steps, programs, 3, 2 * READ), dtype=torch.float32)
    tl = kernels().tl
    launch(
        product_kernels().products_kernel,
        (programs, steps),
        u,
        u,
        g,
        r,
        reach,
        queue,
        partial,
        others,
        size,
        0 if r is None else len(r),
        chunk,
        THRESHOLD=seen.gate.thresholds[0],
        ABSOLUTE=shape.kind == "affine_abs",
        GROUPS=groups,
        ROWS=ROWS,
        READ=READ,
        BLOCK=BLOCK,
        DTYPE=tl.float32 if kernels().INTERPRETED else tl.bfloat16,
        num_warps=1,
        **({} if torch.version.hip else {"maxnreg": REGISTERS}),
        enable_fp_fusion=True,
    )
    launch(
        product_kernels().lines_kernel,
        (-(-count // COLUMNS), steps),
        u,
        partial.sum(1),
        others.sum(1),
        candidates,
        table,
        table.stride(0),
        size,
        count,
        SHAPE=shape,
        WIDTH=width,
        COLUMNS=COLUMNS,
        num_warps=1,
        enable_fp_fusion=False,
    )


def _chunk(size: int, steps: int, at_once: int) -> int:
    """Elements per program: whole blocks, so that programs run in as few full waves as `CHUNK` allows."""
    blocks = -(-size // READ)
    waves = -(-blocks * steps * READ // (at_once * CHUNK))
    return -(-blocks // max(1, waves * at_once // steps)) * READ
