"""The Triton kernels that sum moments per gap between candidate windows. Imports triton, and late.

For shapes that are straight lines inside the window, f = p + q·y, the sums of every candidate follow from
moments of the data in each gap between neighbouring candidates. So each element is added to one gap, not to
every candidate: it is put in the queue of its group of TILE gaps, and a full queue is summed gap by gap.
"""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

import triton
import triton.language as tl

from a2sg.kernels.triton_device import _load
from a2sg.kernels.triton_device_sums import _add_line, _scaled, _unit


@triton.jit
def _largest(values, length, FULL: tl.constexpr):
    """The largest |value| of a queue, and its inverse; see `_unit`."""
    places = tl.arange(0, FULL)
    return _unit(tl.abs(tl.load(values + places, mask=places < length, other=0.0)))


@triton.jit
def _tally(
    queue,
    length,
    edges,
    group,
    partial,
    SECOND: tl.constexpr,
    TEMPORAL: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    FULL: tl.constexpr,
    TILE: tl.constexpr,
    LANES: tl.constexpr,
):
    """Add the first five or the SECOND four moments of a queue to `partial` `[9, TILE]`, by gap."""
    RING: tl.constexpr = 2 * FULL
    lanes = tl.arange(0, LANES)
    gaps = tl.arange(0, TILE)
    edges += group * TILE
    upper = tl.load(edges + gaps)
    lower = tl.load(edges + gaps - 1, mask=gaps + group > 0, other=-1.0)
    wide, inverse = _largest(queue + RING, length, FULL)
    wide_r, inverse_r = wide, inverse
    if TEMPORAL and SECOND:
        wide_r, inverse_r = _largest(queue + 2 * RING, length, FULL)
    zeros = tl.zeros([TILE, LANES], tl.float32)
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros
    begin = tl.full((), 0, tl.int32)
    while begin < length:
        inside = begin + lanes < length
        x = tl.load(queue + begin + lanes, mask=inside, other=0.0)
        g = tl.load(queue + RING + begin + lanes, mask=inside, other=0.0) * inverse
        distance = tl.abs(x)[None, :]
        here = (distance <= upper[:, None]) & (distance > lower[:, None])
        mine = here.to(tl.float32)
        y = tl.abs(x) if ABSOLUTE else x
        gy = g * y
        square_y = g * gy
        if not SECOND:
            m0 += mine * g[None, :]
            m1 += mine * gy[None, :]
            m2 += mine * tl.abs(g)[None, :]
            m3 += mine * (tl.abs(g) * y)[None, :]
            m4 += mine * (g * g)[None, :]
        else:
            m5 += mine * square_y[None, :]
            m6 += mine * (square_y * y)[None, :]
            if TEMPORAL:
                r = tl.load(queue + 2 * RING + begin + lanes, mask=inside, other=0.0) * inverse_r
                m7 += mine * (g * r)[None, :]
                m8 += mine * (gy * r)[None, :]
        begin += LANES
    partial += gaps
    if not SECOND:
        _raise(partial + 0 * TILE, m0, wide)
        _raise(partial + 1 * TILE, m1, wide)
        _raise(partial + 2 * TILE, m2, wide)
        _raise(partial + 3 * TILE, m3, wide)
        _raise(partial + 4 * TILE, m4, wide * wide)
    else:
        _raise(partial + 5 * TILE, m5, wide * wide)
        _raise(partial + 6 * TILE, m6, wide * wide)
        if TEMPORAL:
            _raise(partial + 7 * TILE, m7, wide * wide_r)
            _raise(partial + 8 * TILE, m8, wide * wide_r)


@triton.jit
def _both(
    queue,
    length,
    edges,
    group,
    partial,
    TEMPORAL: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    FULL: tl.constexpr,
    TILE: tl.constexpr,
    LANES: tl.constexpr,
):
    """All moments, in two passes over the queue: each needs half of the registers, so more programs fit."""
    _tally(queue, length, edges, group, partial, False, TEMPORAL, ABSOLUTE, FULL, TILE, LANES)
    _tally(queue, length, edges, group, partial, True, TEMPORAL, ABSOLUTE, FULL, TILE, LANES)


@triton.jit
def _raise(place, moment, factor):
    """Add the sums over lanes of `[TILE, LANES]`, times a factor, to `[TILE]` numbers in memory."""
    tl.store(place, tl.load(place) + factor * tl.sum(moment, 1).to(tl.float64))


@triton.jit
def gaps_kernel(
    potential,
    upstream,
    later,
    edges,
    queues,
    partial,
    others,
    size,
    known,
    count,
    THRESHOLD: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    EDGES: tl.constexpr,
    QUEUES: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
    FULL: tl.constexpr,
    BLOCK: tl.constexpr,
    LANES: tl.constexpr,
):
    """Moments of every `programs(0)`-th block of one step `[N]`, by gap between candidates.

    `edges` `[K, EDGES]` are the `count` candidates of a step, float32, ascending, then infinity. Adds to
    `partial` `[K, programs, QUEUES, 9, TILE]`, float64; writes Σr², and NaN if any gradient is not finite,
    else 0, to `others` `[K, programs, 2]`. Uses `queues` `[K, programs, QUEUES, 3, 2 · FULL]`.
    `later` may be None; it has the first `known` steps. Sums are in float32 within a full queue, whose
    gradients are divided by the largest, and in float64 over queues.

    Counts of a block's elements per queue share one 64-bit number, 9 bits each: hence at most 7 queues and
    BLOCK up to 256.
    """
    RING: tl.constexpr = 2 * FULL
    slots = tl.arange(0, SLOTS)
    offsets = tl.arange(0, BLOCK)
    step = tl.program_id(1)
    place = step.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    edges += step * EDGES
    queues += place * (QUEUES * 3 * RING)
    partial += place * (QUEUES * 9 * TILE)
    start = step.to(tl.int64) * size
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    widest = tl.load(edges + count - 1)
    bounds = ()  # the largest candidate of each group but the last
    for k in tl.static_range(QUEUES - 1):
        bounds = bounds + (tl.load(edges + k * TILE + TILE - 1),)  # noqa: RUF005
    filled = tl.zeros([SLOTS], tl.int32)
    of_later = tl.full((), 0, tl.float64)
    broken = tl.zeros([BLOCK], tl.float32)
    while begin < size:
        inside = offsets < size - begin
        x = _load(potential, start + begin, offsets, inside, tl.float32) - THRESHOLD
        g = _load(upstream, start + begin, offsets, inside, tl.float32)
        broken += 0 * g
        distance = tl.abs(x)
        held = inside & (distance <= widest)
        group = tl.zeros([BLOCK], tl.int32)
        for k in tl.static_range(QUEUES - 1):
            group += (distance > bounds[k]).to(tl.int32)
        bits = (9 * group).to(tl.int64)
        one = tl.where(held, tl.full([BLOCK], 1, tl.int64) << bits, 0)
        rank = ((tl.cumsum(one) >> bits) & 511).to(tl.int32) - 1
        before = filled
        filled += ((tl.sum(one) >> (9 * slots).to(tl.int64)) & 511).to(tl.int32)
        at = queues + group * (3 * RING) + (tl.gather(before, group, 0) + rank) % RING
        tl.store(at, x, mask=held)
        tl.store(at + RING, g, mask=held)
        if later is not None:
            r = _load(later, start + begin, offsets, inside & (step < known), tl.float32)
            broken += 0 * r
            scaled, wide = _scaled(r, tl.abs(r))
            of_later += wide * wide * tl.sum(scaled * scaled).to(tl.float64)
            tl.store(at + 2 * RING, r, mask=held)
        ready = (filled // FULL > before // FULL).to(tl.int32)
        if tl.sum(ready) > 0:
            tl.debug_barrier()  # one thread of the program may read what another wrote
            for queue in range(QUEUES):
                if tl.sum(tl.where(slots == queue, ready, 0)) > 0:
                    half_of = tl.sum(tl.where(slots == queue, before // FULL % 2, 0))
                    _both(
                        queues + queue * (3 * RING) + half_of * FULL,
                        FULL,
                        edges,
                        queue,
                        partial + queue * (9 * TILE),
                        later is not None,
                        ABSOLUTE,
                        FULL,
                        TILE,
                        LANES,
                    )
            tl.debug_barrier()
        begin += tl.num_programs(0).to(tl.int64) * BLOCK
    tl.debug_barrier()
    for queue in range(QUEUES):
        total = tl.sum(tl.where(slots == queue, filled, 0))
        _both(
            queues + queue * (3 * RING) + total // FULL % 2 * FULL,
            total % FULL,
            edges,
            queue,
            partial + queue * (9 * TILE),
            later is not None,
            ABSOLUTE,
            FULL,
            TILE,
            LANES,
        )
    others += place * 2
    tl.store(others, of_later)
    tl.store(others + 1, tl.sum(broken).to(tl.float64))


@triton.jit
def windows_kernel(
    moments,
    others,
    edges,
    candidates,
    table,
    stride,
    size,
    count,
    SHAPE: tl.constexpr,
    EDGES: tl.constexpr,
    QUEUES: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add the sums of one step at COLUMNS candidates to `table` `[K, C, 6]`, from the moments of all gaps.

    `moments` are `[K, QUEUES, 9, TILE]`, `others` `[K, 2]`, `candidates` `[K, C]` in any order, all float64;
    `stride` is that of the table's steps.
    """
    step = tl.program_id(1)
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    known = at < count
    window = tl.load(candidates + step * count + at, mask=known, other=1.0)
    gaps = tl.arange(0, EDGES)
    there = gaps < QUEUES * TILE
    upper = tl.load(edges + step * EDGES + gaps)
    inside = upper[None, :] <= window.to(tl.float32)[:, None]
    row = moments + step * (QUEUES * 9 * TILE) + gaps // TILE * (9 * TILE) + gaps % TILE
    found = ()
    for moment in tl.static_range(9):
        found = found + (_within(row, moment, there, inside, TILE),)  # noqa: RUF005
    _add_line(
        table + step.to(tl.int64) * stride + at * 6, window, found, others + 2 * step, size, known, SHAPE
    )


@triton.jit
def _within(row, moment: tl.constexpr, there, inside, TILE: tl.constexpr):
    """A moment summed over the gaps inside each window."""
    found = tl.load(row + moment * TILE, mask=there, other=0.0)
    return tl.sum(tl.where(inside, found[None, :], 0.0), 1)
