"""The Triton kernels for sums of candidate windows. Imports triton, as `triton_device` does, and late."""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

import triton
import triton.language as tl

from a2sg.kernels.triton_device import _derivative, _load, _ratio


@triton.jit
def _unit(size):
    """The largest of `size` in float64, and its inverse; 1 where that would overflow. NaN stays NaN."""
    largest = tl.max(size)
    largest = tl.where(largest < 1e-37, 1.0, largest).to(size.dtype)
    return largest.to(tl.float64), _ratio(tl.full([1], 1, size.dtype), largest)


@triton.jit
def _scaled(block, size):
    """A block divided by the largest of `size`, and that; NaN stays NaN, and so does infinity, as inf · 0."""
    largest, inverse = _unit(size)
    return block * inverse, largest


@triton.jit
def _add_block(
    sums,
    u,
    g,
    c,
    r,
    candidates,
    slots,
    LEVELS: tl.constexpr,
    SHAPE: tl.constexpr,
    CARRIED: tl.constexpr,
    TEMPORAL: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Σδ, Σ|δ|, Σδ², Σrδ plus those of a block, for GROUP candidates."""
    of_delta, of_abs, of_square, of_cross = sums
    if CARRIED:
        size = tl.maximum(tl.abs(g), tl.abs(c))
        c, _ = _scaled(c, size)
    else:
        size = tl.abs(g)
    g, wide = _scaled(g, size)
    r, wide_r = _scaled(r, tl.abs(r))
    block_delta = tl.zeros(slots.shape, u.dtype)
    block_abs = tl.zeros(slots.shape, u.dtype)
    block_square = tl.zeros(slots.shape, u.dtype)
    block_cross = tl.zeros(slots.shape, u.dtype)
    for k in range(GROUP):
        delta = g * _derivative(u, tl.load(candidates + k).to(u.dtype), LEVELS, SHAPE)
        if CARRIED:
            delta += c
        here = slots == k
        block_delta = tl.where(here, tl.sum(delta), block_delta)
        block_abs = tl.where(here, tl.sum(tl.abs(delta)), block_abs)
        block_square = tl.where(here, tl.sum(delta * delta), block_square)
        if TEMPORAL:
            block_cross = tl.where(here, tl.sum(delta * r), block_cross)
    of_delta += wide * block_delta.to(tl.float64)
    of_abs += wide * block_abs.to(tl.float64)
    of_square += wide * wide * block_square.to(tl.float64)
    if TEMPORAL:
        of_cross += wide * wide_r * block_cross.to(tl.float64)
    return of_delta, of_abs, of_square, of_cross


@triton.jit
def _inside(u, window, LEVELS: tl.constexpr):
    """Whether u is inside the window around any threshold."""
    found = tl.abs(u - LEVELS.thresholds[0]) <= window
    for k in tl.static_range(1, len(LEVELS.thresholds)):
        found = found | (tl.abs(u - LEVELS.thresholds[k]) <= window)
    return found


@triton.jit
def sums_kernel(
    potential,
    upstream,
    carry,
    later,
    candidates,
    queues,
    partial,
    size,
    known,
    width,
    LEVELS: tl.constexpr,
    SHAPE: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Σδ, Σ|δ|, Σδ², Σrδ, Σr² of every `programs(0)`-th block of one step `[N]`, at GROUP candidates.

    `candidates` are `[K, groups · GROUP]`. Writes `partial` `[K, 5, programs, groups · SLOTS]`, float64:
    candidate k of a group is in slot k, the slots from GROUP on are empty. `carry` and `later` may be None;
    `later` has the first `known` steps. Sums are in DTYPE within a block and in float64 over blocks.
    Gradients are divided by the block's largest, so that squares of small ones stay above 0 in float32; those
    below 1e-19 times the largest may vanish.

    If δ is 0 outside a window, only elements inside the widest window are processed: `queues`
    `[K, groups, programs, 3, 2 · BLOCK]` collects them until they fill a block. It is None with a carry or an
    unbounded shape.
    """
    slots = tl.arange(0, SLOTS)
    offsets = tl.arange(0, BLOCK)
    zeros = tl.zeros([SLOTS], tl.float64)
    sums = zeros, zeros, zeros, zeros
    of_later = tl.full((), 0, tl.float64)
    step = tl.program_id(1)
    place = (step * tl.num_programs(2) + tl.program_id(2)).to(tl.int64) * tl.num_programs(0) + tl.program_id(
        0
    )
    candidates += step * width + tl.program_id(2) * GROUP
    start = step.to(tl.int64) * size
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    if queues is not None:
        widest = tl.max(tl.load(candidates + slots, mask=slots < GROUP, other=0.0)).to(DTYPE)
        queues += place * (6 * BLOCK)
        filled = tl.full((), 0, tl.int32)
        broken = tl.full((), 0, tl.float64)
    while begin < size:
        inside = offsets < size - begin
        u = _load(potential, start + begin, offsets, inside, DTYPE)
        g = _load(upstream, start + begin, offsets, inside, DTYPE)
        c = _load(carry, start + begin, offsets, inside, DTYPE)
        r = _load(later, start + begin, offsets, inside & (step < known), DTYPE)
        if later is not None:
            scaled, wide = _scaled(r, tl.abs(r))
            of_later += wide * wide * tl.sum(scaled * scaled).to(tl.float64)
        ready = begin >= 0
        if queues is not None:
            broken += tl.sum(0 * g + 0 * r).to(tl.float64)  # NaN if any is not finite, also outside
            held = inside & _inside(u, widest, LEVELS)
            before = filled
            filled += tl.sum(held.to(tl.int32))
            at = (before + tl.cumsum(held.to(tl.int32)) - 1) % (2 * BLOCK)
            tl.store(queues + at, u, mask=held)
            tl.store(queues + 2 * BLOCK + at, g, mask=held)
            if later is not None:
                tl.store(queues + 4 * BLOCK + at, r, mask=held)
            ready = filled // BLOCK > before // BLOCK
            if ready:
                tl.debug_barrier()  # one thread of the program may read what another wrote
                at = before // BLOCK % 2 * BLOCK + offsets
                u = tl.load(queues + at)
                g = tl.load(queues + 2 * BLOCK + at)
                if later is not None:
                    r = tl.load(queues + 4 * BLOCK + at)
                tl.debug_barrier()
        if ready:
            sums = _add_block(
                sums,
                u,
                g,
                c,
                r,
                candidates,
                slots,
                LEVELS,
                SHAPE,
                carry is not None,
                later is not None,
                GROUP,
            )
        begin += tl.num_programs(0).to(tl.int64) * BLOCK
    if queues is not None:
        tl.debug_barrier()
        at = filled // BLOCK % 2 * BLOCK + offsets
        rest = offsets < filled % BLOCK
        u = _load(queues, 0, at, rest, DTYPE)
        g = _load(queues, 2 * BLOCK, at, rest, DTYPE)
        r = _load(queues if later is not None else None, 4 * BLOCK, at, rest, DTYPE)
        sums = _add_block(sums, u, g, g, r, candidates, slots, LEVELS, SHAPE, False, later is not None, GROUP)
        zeros += broken
    row_size = tl.num_programs(2) * SLOTS
    column = tl.num_programs(0) * row_size
    row = partial + (step * 5 * tl.num_programs(0) + tl.program_id(0)) * row_size + tl.program_id(2) * SLOTS
    row += slots
    for k in tl.static_range(4):
        tl.store(row + k * column, sums[k] + zeros)
    tl.store(row + 4 * column, of_later + zeros)


@triton.jit
def add_kernel(
    partial,
    table,
    stride,
    size,
    programs,
    count,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add the partial sums of one column and step, at COLUMNS candidates, to `table` `[K, C, 6]`.

    `stride` is that of the table's steps. Column 0 counts the N elements.
    """
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = at < count
    column = tl.program_id(1)
    step = tl.program_id(2)
    width = tl.cdiv(count, GROUP) * SLOTS
    slots = at // GROUP * SLOTS + at % GROUP
    total = tl.zeros([COLUMNS], tl.float64)
    if column == 0:
        total += size
    else:
        rows = tl.arange(0, ROWS)
        begin = tl.full((), 0, tl.int32)
        part = partial + (step * 5 + column - 1) * programs * width
        while begin < programs:
            mask = (begin + rows < programs)[:, None] & inside[None, :]
            found = tl.load(part + (begin + rows)[:, None] * width + slots[None, :], mask=mask, other=0.0)
            total += tl.sum(found, 0)
            begin += ROWS
    place = table + step.to(tl.int64) * stride + at * 6 + column
    tl.store(place, tl.load(place, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
def _add_line(place, window, moments, others, size, known, SHAPE: tl.constexpr):
    """Add a row of sums per window at `place`, from nine moments of the elements inside, all float64.

    With f = p + q·y, the moments are Σ of g, gy, |g|, |g|y, g², g²y, g²y², gr, gry; `others` are Σr² and NaN
    if any gradient is not finite, else 0.
    """
    scale = tl.full(window.shape, SHAPE.scale, tl.float64)
    if SHAPE.mass is not None:
        scale = scale / (SHAPE.mass * window)
    p = SHAPE.a * scale
    q = SHAPE.b * scale / window
    square = p * p * moments[4] + 2 * p * q * moments[5] + q * q * moments[6]
    of_later = tl.load(others)
    broken = tl.load(others + 1)
    _increase(place, tl.zeros_like(window) + size, known)
    _increase(place + 1, p * moments[0] + q * moments[1] + broken, known)
    _increase(place + 2, p * moments[2] + q * moments[3] + broken, known)
    _increase(place + 3, tl.maximum(square, 0.0) + broken, known)
    _increase(place + 4, p * moments[7] + q * moments[8] + broken, known)
    _increase(place + 5, tl.zeros_like(window) + of_later + broken, known)


@triton.jit
def _increase(place, value, known):
    tl.store(place, tl.load(place, mask=known, other=0.0) + value, mask=known)
