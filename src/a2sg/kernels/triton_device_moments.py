"""The Triton kernels for batch statistics. Imports triton, as `triton_device` does, and late."""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

import triton
import triton.language as tl


@triton.jit
def _joined(counts, means, squares):
    """Mean and sum of squared deviations per column, of values in rows given by theirs."""
    total = tl.sum(counts, 0)
    mean = tl.sum(counts * means, 0) / tl.maximum(total, 1)
    away = means - mean[None, :]
    return mean, tl.sum(squares + counts * away * away, 0)


@triton.jit
def moments_kernel(x, partial, size, channels, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Mean and sum of squared deviations of `chunk` of the rows of `x` `[size, channels]`, at COLUMNS.

    Writes `partial` `[2, programs(0), channels]`, float64. Every thread goes through its own rows by
    Welford's rule, in float32: a large mean cancels nothing. `chunk` is a multiple of ROWS.
    """
    rows = tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    begin = tl.program_id(0) * chunk
    end = tl.minimum(size, begin + chunk)
    mean = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([ROWS, COLUMNS], tl.float32)
    known = columns[None, :] < channels
    at = begin + rows
    counts = tl.zeros([ROWS], tl.float32)
    taken = tl.full((), 1, tl.float32)
    while begin < end:
        inside = (at < end)[:, None] & known
        place = x + at.to(tl.int64)[:, None] * channels + columns[None, :]
        value = tl.load(place, mask=inside, other=0.0).to(tl.float32)
        away = tl.where(inside, value - mean, 0.0)
        mean += away * (1.0 / taken)
        squares += away * tl.where(inside, value - mean, 0.0)
        counts += tl.where(at < end, 1.0, 0.0)
        at += ROWS
        begin += ROWS
        taken += 1
    first, second = _joined(counts[:, None], mean, squares)
    partial += tl.program_id(0) * channels + columns
    tl.store(partial, first, mask=columns < channels)
    tl.store(partial + tl.num_programs(0) * channels, second, mask=columns < channels)


@triton.jit
def join_kernel(
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
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Mean and population variance `[channels]` from at most ROWS parts; moves the running ones."""
    rows = tl.arange(0, ROWS)
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    known = columns < channels
    inside = (rows < programs)[:, None] & known[None, :]
    place = partial + rows[:, None] * channels + columns[None, :]
    means = tl.load(place, mask=inside, other=0.0)
    squares = tl.load(place + programs * channels, mask=inside, other=0.0)
    counts = tl.maximum(tl.minimum(size - rows * chunk, chunk), 0).to(tl.float64)[:, None]
    first, second = _joined(counts, means, squares)
    tl.store(mean + columns, first.to(mean.dtype.element_ty), mask=known)
    tl.store(variance + columns, (second / size).to(variance.dtype.element_ty), mask=known)
    was = tl.load(running_mean + columns, mask=known, other=0.0).to(tl.float64)
    moved = was + share * (first - was)
    tl.store(running_mean + columns, moved.to(running_mean.dtype.element_ty), mask=known)
    was = tl.load(running_var + columns, mask=known, other=0.0).to(tl.float64)
    moved = was + share * (second / tl.maximum(size - 1, 1) - was)
    tl.store(running_var + columns, moved.to(running_var.dtype.element_ty), mask=known)
