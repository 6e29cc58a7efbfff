"""The Triton kernels that sum straight lines at every candidate window as a matrix product.

The sums that a candidate needs are those of nine moments over the elements inside its window: the product of
a matrix of zeros and ones, candidates by elements, and one of moments, elements by nine. Tensor cores compute
it: zeros and ones are exact in bfloat16, and each moment is the exact sum of three numbers of that type.
Imports triton, as `triton_device` does, and late.
"""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

import triton
import triton.language as tl

from a2sg.kernels.triton_device import _load
from a2sg.kernels.triton_device_sums import _add_line, _scaled

LEAST: tl.constexpr = tl.constexpr(27 << 23)
"""The exponent bits of 2^-100."""

MOST: tl.constexpr = tl.constexpr(253 << 23)
"""The exponent bits of 2¹²⁶, the largest power of two whose inverse is not denormal."""


@triton.jit
def _float(bits):
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _grown(unit, block):
    """The unit, grown to the power of two below the largest of a block; its inverse; old unit / new one."""
    largest = tl.max(tl.abs(block).to(tl.int32, bitcast=True))
    grown = tl.minimum(tl.maximum(unit, largest & 0x7F800000), MOST)
    inverse = _float((254 << 23) - grown)
    return grown, inverse, _float(unit) * inverse


@triton.jit
def _finite(block):
    return tl.where(tl.abs(block) < float("inf"), block, 0.0)


@triton.jit
def _split(value):
    """Three floats of 8 significant bits each that add up to a float32 (unless it is almost denormal)."""
    high = _float(value.to(tl.int32, bitcast=True) & -65536)
    rest = value - high
    middle = _float(rest.to(tl.int32, bitcast=True) & -65536)
    return high, middle, rest - middle


@triton.jit
def _short(value, DTYPE: tl.constexpr):
    """A value that DTYPE holds exactly, in it; with this rounding a comparison takes fewer instructions."""
    return value if value.dtype == DTYPE else value.to(DTYPE, fp_downcast_rounding="rtz")


@triton.jit
def _eight(a, b, c, d, e, f, g, h):
    """Eight blocks `[BLOCK]` as the columns of one `[BLOCK, 8]`."""
    odd = tl.join(tl.join(b, f), tl.join(d, h))
    return tl.reshape(tl.join(tl.join(tl.join(a, e), tl.join(c, g)), odd), [a.shape[0], 8])


@triton.jit
def _moments(g, y, DTYPE: tl.constexpr):
    """The columns g, gy, |g|, |g|y, g², g²y, g²y², 0, in three parts."""
    square = g * g
    first = _eight(g, g * y, tl.abs(g), tl.abs(g) * y, square, square * y, square * y * y, tl.zeros_like(g))
    high, middle, low = _split(first)
    return _short(high, DTYPE), _short(middle, DTYPE), _short(low, DTYPE)


@triton.jit
def _cross_moments(gr, y, DTYPE: tl.constexpr):
    """Columns of the three parts of gr, then of gry, then zeros."""
    high, middle, low = _split(gr)
    high_y, middle_y, low_y = _split(gr * y)
    zeros = tl.zeros_like(gr)
    return _short(_eight(high, middle, low, high_y, middle_y, low_y, zeros, zeros), DTYPE)


@triton.jit
def _multiply(totals, factors, reaches, distance, parts, crosses, factor, cross_parts):
    """Per group of candidates: totals times factors, plus the sums over the elements within reach."""
    grown = ()
    grown_crosses = ()
    for k in tl.static_range(len(totals)):
        inside = _short(tl.where(distance[None, :] <= reaches[k][:, None], 1.0, 0.0), parts[0].dtype)
        found = tl.dot(inside, parts[2])
        found = tl.dot(inside, parts[1], found)
        # Tensor cores round towards 0, so blocks are added outside of them. Two products in a row wait for
        # each other, so the largest part is one of its own.
        total = tl.fma(totals[k], factors[None, :], tl.dot(inside, parts[0]))
        grown = grown + (total + found,)  # noqa: RUF005
        if cross_parts is not None:
            total = tl.fma(crosses[k], factor, tl.dot(inside, cross_parts))
            grown_crosses = grown_crosses + (total,)  # noqa: RUF005
    return grown, grown_crosses


@triton.jit
def products_kernel(
    potential,
    upstream,
    later,
    reach,
    queue,
    partial,
    others,
    size,
    known,
    chunk,
    THRESHOLD: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    READ: tl.constexpr,
    BLOCK: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Moments of `chunk` elements of one step `[N]` inside each window.

    `reach` `[K, GROUPS · ROWS]` are the windows of a step, float32, or negative where there is none. Writes
    `partial` `[K, programs, GROUPS · ROWS, 9]`, float64, and to `others` `[K, programs, 2]` Σr², and NaN if
    any gradient is not finite, else 0. `later` may be None; it has the first `known` steps. DTYPE is
    bfloat16, or float32 for the interpreter, which cannot multiply bfloat16.

    Elements inside the widest window go through `queue` `[K, programs, 3, 2 · READ]`, READ at once, and leave
    it in blocks; READ is at least two blocks. The moments of a block are computed while the tensor cores sum
    those of the block before it. Gradients are divided by a power of two, the unit, that grows with the
    largest so far, so that squares stay above 0 in float32. Those below 1e-19 times the unit may vanish.
    """
    RING: tl.constexpr = 2 * READ
    arriving = tl.arange(0, READ)
    offsets = tl.arange(0, BLOCK)
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, 8)
    step = tl.program_id(1)
    place = step.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    queue += place * (3 * RING)
    reach += step * (GROUPS * ROWS)
    reaches = ()
    totals = ()
    crosses = ()
    widest = tl.full((), -1, tl.float32)
    for k in tl.static_range(GROUPS):
        edge = tl.load(reach + k * ROWS + rows)
        widest = tl.maximum(widest, tl.max(edge))
        reaches = reaches + (edge,)  # noqa: RUF005
        totals = totals + (tl.zeros([ROWS, 8], tl.float32),)  # noqa: RUF005
        if later is not None:
            crosses = crosses + (tl.zeros([ROWS, 8], tl.float32),)  # noqa: RUF005
    parts = (tl.zeros([BLOCK, 8], DTYPE), tl.zeros([BLOCK, 8], DTYPE), tl.zeros([BLOCK, 8], DTYPE))
    cross_parts = None if later is None else tl.zeros([BLOCK, 8], DTYPE)
    factors = tl.full([8], 1, tl.float32)
    factor = tl.full((), 1, tl.float32)
    unit = tl.full((), LEAST, tl.int32)
    unit_r = tl.full((), LEAST, tl.int32)
    of_later = tl.full((), 0, tl.float64)
    broken = tl.zeros([READ], tl.float32)
    filled = tl.full((), 0, tl.int32)
    done = tl.full((), 0, tl.int32)
    start = step.to(tl.int64) * size
    begin = tl.program_id(0) * chunk
    end = tl.minimum(size, begin + chunk)
    while begin < end + READ:
        inside = arriving < end - begin
        x = _load(potential, start + begin, arriving, inside, tl.float32) - THRESHOLD
        g = _load(upstream, start + begin, arriving, inside, tl.float32)
        broken += 0 * g
        held = inside & (tl.abs(x) <= widest)
        at = queue + (filled + tl.cumsum(held.to(tl.int32)) - 1) % RING
        filled += tl.sum(held.to(tl.int32))
        tl.store(at, x, mask=held)
        tl.store(at + RING, _finite(g), mask=held)
        if later is not None:
            r = _load(later, start + begin, arriving, inside & (step < known), tl.float32)
            broken += 0 * r
            scaled, wide = _scaled(r, tl.abs(r))
            of_later += wide * wide * tl.sum(scaled * scaled).to(tl.float64)
            tl.store(at + 2 * RING, _finite(r), mask=held)
        tl.debug_barrier()  # one thread of the program may read what another wrote
        # Whole blocks; at the end also what is left, and the sums of the last block.
        limit = tl.where(begin < end, filled - BLOCK + 1, filled + BLOCK)
        while done < limit:
            there = offsets < filled - done
            block = queue + done % RING + offsets
            y = tl.load(block, mask=there, other=0.0)
            h = tl.load(block + RING, mask=there, other=0.0)
            q = None if later is None else tl.load(block + 2 * RING, mask=there, other=0.0)
            # Read again: Triton would pass kept distances through shared memory, once per candidate.
            distance = tl.abs(tl.load(queue + (done + RING - BLOCK) % RING + offsets))
            totals, crosses = _multiply(
                totals, factors, reaches, distance, parts, crosses, factor, cross_parts
            )
            if ABSOLUTE:
                y = tl.abs(y)
            unit, inverse, factor = _grown(unit, h)
            factors = tl.where(columns < 4, factor, factor * factor)
            h *= inverse
            parts = _moments(h, y, DTYPE)
            if later is not None:
                unit_r, inverse, growth = _grown(unit_r, q)
                factor *= growth
                cross_parts = _cross_moments(h * (q * inverse), y, DTYPE)
            done += BLOCK
        tl.debug_barrier()
        begin += READ
    one = _float(unit).to(tl.float64)
    one_r = _float(unit_r).to(tl.float64)
    at = partial + (place * (GROUPS * ROWS) + rows) * 9
    for k in tl.static_range(GROUPS):
        total = totals[k].to(tl.float64) * tl.where(columns < 4, one, one * one)[None, :]
        tl.store(at[:, None] + k * ROWS * 9 + columns[None, :], total, mask=(columns < 7)[None, :])
        for moment in tl.static_range(2):
            total = tl.zeros([ROWS], tl.float64)
            if later is not None:
                mine = (columns // 3 == moment)[None, :]
                total += tl.sum(tl.where(mine, crosses[k], 0.0), 1).to(tl.float64) * one * one_r
            tl.store(at + k * ROWS * 9 + 7 + moment, total)
    others += place * 2
    tl.store(others, of_later)
    tl.store(others + 1, tl.sum(broken).to(tl.float64))


@triton.jit
def lines_kernel(
    moments,
    others,
    candidates,
    table,
    stride,
    size,
    count,
    SHAPE: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add the sums of one step at COLUMNS candidates to `table` `[K, C, 6]`, from the moments inside each.

    `moments` are `[K, WIDTH, 9]`, `others` `[K, 2]`, `candidates` `[K, C]`, all float64; `stride` is that of
    the table's steps.
    """
    step = tl.program_id(1)
    at = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    known = at < count
    window = tl.load(candidates + step * count + at, mask=known, other=1.0)
    found = ()
    for moment in tl.static_range(9):
        place = moments + (step * WIDTH + at) * 9 + moment
        found = found + (tl.load(place, mask=known, other=0.0),)  # noqa: RUF005
    _add_line(
        table + step.to(tl.int64) * stride + at * 6, window, found, others + 2 * step, size, known, SHAPE
    )
