"""Batch statistics as Triton kernels: mean and variance of each channel in one pass over the data."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.kernels.compilers import LARGEST
from a2sg.kernels.triton_constants import available, moment_kernels, multiprocessors
from a2sg.kernels.triton_launch import launch

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

TILE = 4096
"""Values that a program reads at once: 32 for each of its threads."""

COLUMNS = 64
"""Maximum number of channels per program: whole cache lines in half precision."""

PROGRAMS = 5
"""Programs per multiprocessor: as many as fit in its registers (96 per thread) at once."""

PARTS = 512
"""Maximum programs per channel, so that one program of the second kernel holds all parts of its channels."""

JOINED = 8
"""Channels of a program of the second kernel."""


def takes(x: Tensor) -> bool:
    """Whether the kernels support `[N, C]` or `[N, C, H, W]`: channels last in memory, at most float32."""
    last = x.is_contiguous() if x.dim() == 2 else x.dim() == 4 and _channels_last(x)
    return last and x.dtype in DTYPES and 0 < x.numel() < LARGEST // 2 and available(x.device.type)


def statistics(x: Tensor, running_mean: Tensor, running_var: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mean and population variance `[C]` in float32, as `torch.batch_norm_update_stats`.

    The running ones are moved by a share, the variance towards its unbiased value. Every value is read once.
    Sums are float32 within a program and float64 over programs, always in the same order, so that a run
    repeats to the bit. Nothing waits for the device.

    Raises:
        FusionError: if the kernels cannot be compiled.
    """
    channels = x.shape[1]
    size = x.numel() // channels
    columns = min(COLUMNS, _power(channels))
    rows = TILE // columns
    across = -(-channels // columns)
    programs = min(PARTS, max(1, PROGRAMS * multiprocessors(x.device) // across), -(-size // rows))
    chunk = -(-size // (programs * rows)) * rows
    programs = -(-size // chunk)
    partial = x.new_empty((2, programs, channels), dtype=torch.float64)
    mean, variance = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    launch(
        moment_kernels().moments_kernel,
        (programs, across),
        x,
        x,
        partial,
        size,
        channels,
        chunk,
        ROWS=rows,
        COLUMNS=columns,
        num_warps=4,
        enable_fp_fusion=True,
    )
    launch(
        moment_kernels().join_kernel,
        (-(-channels // JOINED),),
        x,
        partial,
        mean,
        variance,
        running_mean,
        running_var,
        share,
        size,
        channels,
        chunk,
        programs,
        ROWS=max(32, _power(programs)),
        COLUMNS=JOINED,
        num_warps=8,
        enable_fp_fusion=False,
    )
    return mean, variance


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _power(number: int) -> int:
    """The least power of two that is not below a number."""
    return 1 << (number - 1).bit_length()
