"""The Triton kernels themselves. Imports triton: `triton_constants.kernels` imports this, late.

One program takes BLOCK neurons of a layer `[T, N]`. What a neuron is made of is a compile-time constant:
CELL is a dataclass of `triton_neuron`, its part LEVELS and SHAPE are those of `triton_constants`. Windows, a
trained decay and all data are read from memory. A pointer may be None where its docstring says so.
"""
# mypy: ignore-errors
# (A language of its own in Python's syntax.)

import triton
import triton.language as tl


@triton.jit
def _ratio(a, b):
    """Rounded correctly: with Triton's own float32 division u / u need not be 1 at a window's edge."""
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def _profile(z, SHAPE: tl.constexpr):
    """The free-height shape at z = distance / window."""
    if SHAPE.kind == "affine":
        value = SHAPE.a + SHAPE.b * z
    elif SHAPE.kind == "affine_abs":
        value = SHAPE.a + SHAPE.b * tl.abs(z)
    elif SHAPE.kind == "sech2":
        small = tl.exp(-tl.abs(SHAPE.b * z))  # sech²(bz/2) = 4e⁻ᵇᶻ/(1+e⁻ᵇᶻ)²: nothing overflows
        value = SHAPE.a * 4 * _ratio(small, (1 + small) * (1 + small))
    elif SHAPE.kind == "arctan":
        value = _ratio(tl.full(z.shape, 1, z.dtype), 1 + z * z)
    else:
        tl.static_assert(SHAPE.kind == "fast_sigmoid")
        value = _ratio(tl.full(z.shape, 1, z.dtype), (1 + tl.abs(z)) * (1 + tl.abs(z)))
    return value


@triton.jit
def _derivative(u, window, LEVELS: tl.constexpr, SHAPE: tl.constexpr):
    """ds/du at u, as `Gate.derivative`; `window` is a scalar of the same dtype."""
    total = tl.zeros_like(u)
    inverse = _ratio(tl.full([1], 1, u.dtype), window)  # one division, not one per neuron
    for k in tl.static_range(len(LEVELS.thresholds)):
        distance = u - LEVELS.thresholds[k]
        value = _profile(distance * inverse, SHAPE)
        if SHAPE.mass is not None:
            value = _ratio(value, SHAPE.mass * window)
        if SHAPE.bounded:
            # As `lower_edge=False` of `Surrogate.derivative`.
            inside = tl.abs(distance) <= window
            if k > 0:
                inside = inside & (distance > -window)
            value = tl.where(inside, value, 0.0)
        total += value
    return total


@triton.jit
def _fire(u, LEVELS: tl.constexpr):
    level = tl.zeros_like(u)
    for k in tl.static_range(len(LEVELS.thresholds)):
        # A tensor, as some versions of Triton compare a float64 with a bare number in float32.
        level += (u >= tl.full((), LEVELS.thresholds[k], u.dtype)).to(u.dtype)
    return level


@triton.jit
def _integrate(v, x, decay, CELL: tl.constexpr):
    return decay * (v + x) if CELL.scaled else decay * v + x


@triton.jit
def _reset(u, s, CELL: tl.constexpr):
    return u - CELL.threshold * s if CELL.soft else u * (1 - s)


@triton.jit
def _load(pointer, begin, offsets, inside, DTYPE: tl.constexpr):
    """A block in the compute dtype; zeros for None."""
    if pointer is None:
        block = tl.zeros(offsets.shape, DTYPE)
    else:
        block = tl.load(pointer + begin + offsets, mask=inside, other=0.0).to(DTYPE)
    return block


@triton.jit
def _decay(decay, CELL: tl.constexpr, DTYPE: tl.constexpr):
    """A trained decay is read from memory, a fixed one is a constant."""
    return tl.full((), CELL.decay, DTYPE) if decay is None else tl.load(decay).to(DTYPE)


@triton.jit
def _forward_step(begin, v, decay, current, spikes, offsets, inside, CELL: tl.constexpr):
    """v[t] from v[t-1]; stores s[t]."""
    u = _integrate(v, _load(current, begin, offsets, inside, v.dtype), decay, CELL)
    s = _fire(u, CELL)
    tl.store(spikes + begin + offsets, s.to(spikes.dtype.element_ty), mask=inside)
    return _reset(u, s, CELL)


@triton.jit
def forward_kernel(
    current,
    initial,
    decay,
    spikes,
    final,
    size,
    CELL: tl.constexpr,
    STEPS: tl.constexpr,
    UNROLL: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """T steps from `initial` (or None). `decay` is None unless trained."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < size
    stride = tl.full((), size, tl.int64)  # T · N may exceed 32 bits
    decay = _decay(decay, CELL, DTYPE)
    v = _load(initial, 0, offsets, inside, DTYPE)
    if UNROLL:
        for t in tl.static_range(STEPS):
            v = _forward_step(t * stride, v, decay, current, spikes, offsets, inside, CELL)
    else:
        for t in range(STEPS):
            v = _forward_step(t * stride, v, decay, current, spikes, offsets, inside, CELL)
    tl.store(final + offsets, v, mask=inside)


@triton.jit
def _again(begin, v, decay, current, offsets, inside, CELL: tl.constexpr):
    """u[t] and v[t] from v[t-1]."""
    u = _integrate(v, _load(current, begin, offsets, inside, v.dtype), decay, CELL)
    return u, _reset(u, _fire(u, CELL), CELL)


@triton.jit
def _backward_step(
    begin,
    window,
    u,
    grad_v,
    decay,
    grad_spikes,
    grad_current,
    offsets,
    inside,
    CELL: tl.constexpr,
    SHAPE: tl.constexpr,
):
    """dL/du[t] and dL/dv[t-1] from u[t] and dL/dv[t]; stores dL/dI[t]."""
    upstream = _load(grad_spikes, begin, offsets, inside, u.dtype)
    carry = grad_v
    if not CELL.detached:
        upstream -= (CELL.threshold if CELL.soft else u) * grad_v
    if not CELL.soft:
        carry = tl.where(_fire(u, CELL) > 0, 0.0, grad_v)
    grad_u = upstream * _derivative(u, tl.load(window).to(u.dtype), CELL, SHAPE) + carry
    grad_v = decay * grad_u
    grad = grad_v if CELL.scaled else grad_u
    tl.store(grad_current + begin + offsets, grad.to(grad_current.dtype.element_ty), mask=inside)
    return grad_u, grad_v


@triton.jit
def backward_kernel(
    grad_spikes,
    grad_final,
    current,
    initial,
    decay,
    windows,
    potentials,
    grad_current,
    grad_initial,
    grad_decay,
    size,
    CELL: tl.constexpr,
    SHAPE: tl.constexpr,
    STEPS: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute u[t] again, then go back through the T steps.

    u[t] is kept in registers if `potentials` is None, else there `[T, N]`. `grad_decay` is float64, one
    number per program. Any of `grad_spikes`, `grad_final`, `initial`, `grad_initial` and `grad_decay`
    may be None.
    """
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < size
    stride = tl.full((), size, tl.int64)
    decay = _decay(decay, CELL, DTYPE)
    first = _load(initial, 0, offsets, inside, DTYPE)
    grad_v = _load(grad_final, 0, offsets, inside, DTYPE)
    of_decay = tl.zeros([BLOCK], DTYPE)
    v = first
    if potentials is None:
        kept = ()
        for t in tl.static_range(STEPS):
            u, v = _again(t * stride, v, decay, current, offsets, inside, CELL)
            kept = kept + (u,)  # noqa: RUF005 (Triton knows no unpacking)
        for back in tl.static_range(STEPS):
            begin = (STEPS - 1 - back) * stride
            u = kept[STEPS - 1 - back]
            grad_u, grad_v = _backward_step(
                begin,
                windows + (STEPS - 1 - back),
                u,
                grad_v,
                decay,
                grad_spikes,
                grad_current,
                offsets,
                inside,
                CELL,
                SHAPE,
            )
            if grad_decay is not None:
                if back < STEPS - 1:
                    u = kept[STEPS - 2 - back]
                    held = _reset(u, _fire(u, CELL), CELL)
                else:
                    held = first
                if CELL.scaled:
                    held += _load(current, begin, offsets, inside, DTYPE)
                of_decay += grad_u * held
    else:
        for t in range(STEPS):
            u, v = _again(t * stride, v, decay, current, offsets, inside, CELL)
            tl.store(potentials + t * stride + offsets, u, mask=inside)
        tl.debug_barrier()  # what one thread of the program wrote, another may read
        for back in range(STEPS):
            t = STEPS - 1 - back
            begin = t * stride
            grad_u, grad_v = _backward_step(
                begin,
                windows + t,
                _load(potentials, begin, offsets, inside, DTYPE),
                grad_v,
                decay,
                grad_spikes,
                grad_current,
                offsets,
                inside,
                CELL,
                SHAPE,
            )
            if grad_decay is not None:
                u = _load(potentials, tl.maximum(begin - stride, 0), offsets, inside, DTYPE)
                held = tl.where(begin > 0, _reset(u, _fire(u, CELL), CELL), first)
                if CELL.scaled:
                    held += _load(current, begin, offsets, inside, DTYPE)
                of_decay += grad_u * held
    if grad_initial is not None:
        tl.store(grad_initial + offsets, grad_v, mask=inside)
    if grad_decay is not None:
        tl.store(grad_decay + tl.program_id(0), tl.sum(of_decay.to(tl.float64)))


@triton.jit
def sums_kernel(
    potential,
    upstream,
    carry,
    later,
    candidates,
    partial,
    size,
    known,
    count,
    LEVELS: tl.constexpr,
    SHAPE: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Σδ, Σ|δ|, Σδ², Σrδ, Σr² of every `programs(0)`-th block of one step `[N]`, at GROUP candidates.

    Writes `partial` `[K, 5, programs, groups · SLOTS]`, float64: candidate k of a group is in slot k, the
    slots from GROUP on are empty. `carry` and `later` may be None; `later` has the first `known` steps. Sums
    are in DTYPE within a block and in float64 over blocks. Gradients are divided by the block's largest, so
    that squares of small ones stay above 0 in float32; what is 1e-19 times the largest may vanish.
    """
    slots = tl.arange(0, SLOTS)
    of_delta = tl.zeros([SLOTS], tl.float64)
    of_abs = tl.zeros([SLOTS], tl.float64)
    of_square = tl.zeros([SLOTS], tl.float64)
    of_cross = tl.zeros([SLOTS], tl.float64)
    of_later = tl.zeros([SLOTS], tl.float64)
    step = tl.program_id(1)
    group = tl.program_id(2) * GROUP
    candidates += step * count + group
    start = step.to(tl.int64) * size
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    while begin < size:
        offsets = tl.arange(0, BLOCK)
        inside = offsets < size - begin
        u = _load(potential, start + begin, offsets, inside, DTYPE)
        g = _load(upstream, start + begin, offsets, inside, DTYPE)
        c = _load(carry, start + begin, offsets, inside, DTYPE)
        r = _load(later, start + begin, offsets, inside & (step < known), DTYPE)
        # NaN passes through all of this, and so does infinity, as inf / inf.
        scale = _scale(tl.maximum(tl.abs(g), tl.abs(c)))
        g = _ratio(g, scale)
        c = _ratio(c, scale)
        scale_r = _scale(tl.abs(r))
        r = _ratio(r, scale_r)
        block_delta = tl.zeros([SLOTS], DTYPE)
        block_abs = tl.zeros([SLOTS], DTYPE)
        block_square = tl.zeros([SLOTS], DTYPE)
        block_cross = tl.zeros([SLOTS], DTYPE)
        for k in range(GROUP):
            window = tl.load(candidates + k, mask=group + k < count, other=1.0).to(DTYPE)
            delta = g * _derivative(u, window, LEVELS, SHAPE)
            if carry is not None:
                delta += c
            here = slots == k
            block_delta = tl.where(here, tl.sum(delta), block_delta)
            block_abs = tl.where(here, tl.sum(tl.abs(delta)), block_abs)
            block_square = tl.where(here, tl.sum(delta * delta), block_square)
            if later is not None:
                block_cross = tl.where(here, tl.sum(delta * r), block_cross)
        wide = scale.to(tl.float64)
        wide_r = scale_r.to(tl.float64)
        of_delta += wide * block_delta.to(tl.float64)
        of_abs += wide * block_abs.to(tl.float64)
        of_square += wide * wide * block_square.to(tl.float64)
        if later is not None:
            of_cross += wide * wide_r * block_cross.to(tl.float64)
            of_later += wide_r * wide_r * tl.sum(r * r).to(tl.float64)
        begin += tl.num_programs(0).to(tl.int64) * BLOCK
    width = tl.num_programs(2) * SLOTS
    column = tl.num_programs(0) * width
    row = (
        partial
        + (step * 5 * tl.num_programs(0) + tl.program_id(0)) * width
        + tl.program_id(2) * SLOTS
        + slots
    )
    tl.store(row, of_delta)
    tl.store(row + column, of_abs)
    tl.store(row + 2 * column, of_square)
    tl.store(row + 3 * column, of_cross)
    tl.store(row + 4 * column, of_later)


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
    """Adds the partial sums of one column and step, at COLUMNS candidates, to `table` `[K, C, 6]`.

    `stride` is the table's from one step to the next. Column 0 counts the N elements.
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
def _scale(size):
    """The largest of a block, or 1 if all are 0 (or NaN)."""
    largest = tl.max(size)
    return tl.where(largest > 0, largest, 1.0)


INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)
"""Whether TRITON_INTERPRET=1 was set when triton was imported: kernels then run on the CPU."""
