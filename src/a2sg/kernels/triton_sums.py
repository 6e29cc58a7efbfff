"""The table of sums per candidate as a Triton kernel: a `Fill` like those of `a2sg.window.sums`."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.layout import layout_of
from a2sg.kernels.triton_neuron import Levels, available, kernels, shape_of
from a2sg.window.objectives import Sums

BLOCK = 512
"""Elements of a block: few enough for float32 sums, and to stay in the registers of one warp."""

SLOTS = 64
"""Candidates of a group at most: a program has the sums of one group in registers."""

PROGRAMS = 4096
"""Programs at most, that is partial sums to add up in the end; enough to fill a large GPU."""


def supports(gate: Gate, potential: Tensor) -> bool:
    """Whether the kernel can run here, on this layer, and knows the shape."""
    return (
        potential.dtype in (torch.float32, torch.float64)
        and potential.numel() > 0
        and shape_of(gate.surrogate) is not None
        and available(potential.device.type)
    )


def fill(
    gate: Gate,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    later: Tensor | None,
    candidates: Tensor,
) -> Tensor:
    """One pass over the data per group of candidates; any known shape, any gradient, any levels.

    Terms are computed in the dtype of `potential` and added in it within blocks (so in float32 the sums
    are good to about 1e-7), then in float64, always in the same order. Gradients may be of any size:
    blocks are scaled to their largest. NaN or infinity in one makes the sums of every candidate NaN.

    Args:
        gate: thresholds and surrogate.
        potential: u `[B, ...]`, float32 or float64.
        upstream: dL/ds, of the same shape.
        carry: the part of dL/du that does not depend on the window; None leaves it out.
        later: r, the gradient of the next step; None at the last.
        candidates: windows `[C]`.

    Returns:
        The table `[C, 6]`, float64, with the columns of `Sums`.
    """
    layout = layout_of(potential[None])
    u, g, c, r = (
        None if part is None else layout.flatten(part[None]) for part in (potential, upstream, carry, later)
    )
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
