"""The Triton kernels themselves. Imports triton, so only `triton_constants.kernels` imports this, late.

One program handles BLOCK neurons of a layer `[T, N]`. A neuron's equations are compile-time constants: CELL
is a dataclass of `triton_neuron`; LEVELS, a part of it, and SHAPE are dataclasses of `triton_constants`.
Windows, a trained decay and all data are read from memory. A pointer may be None where its docstring says so.
"""
# mypy: ignore-errors
# (Triton is a separate language in Python's syntax.)

import triton
import triton.language as tl


@triton.jit
def _ratio(a, b):
    """A / b, rounded correctly: with Triton's own float32 division u / u may not be 1 at a window's edge."""
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def _profile(distance, inverse, SHAPE: tl.constexpr):
    """The free-height shape at z = distance / window; `inverse` is 1 / window."""
    if SHAPE.kind == "affine":
        value = SHAPE.a + SHAPE.b * inverse * distance
    elif SHAPE.kind == "affine_abs":
        value = SHAPE.a + SHAPE.b * inverse * tl.abs(distance)
    else:
        z = distance * inverse
        if SHAPE.kind == "sech2":
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
    one = tl.full([1], 1, u.dtype)
    inverse = _ratio(one, window)  # divide once per window, not per neuron
    for k in tl.static_range(len(LEVELS.thresholds)):
        distance = u - LEVELS.thresholds[k]
        value = _profile(distance, inverse, SHAPE)
        if SHAPE.mass is not None:
            value *= _ratio(one, SHAPE.mass * window)
        if SHAPE.scale != 1:
            value *= SHAPE.scale
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
    """The decay: read from memory if it is trained, else a constant."""
    return tl.full((), CELL.decay, DTYPE) if decay is None else tl.load(decay).to(DTYPE)


@triton.jit
def _channel(constant, offsets, inside, inner, channels, DTYPE: tl.constexpr):
    """The number of each neuron's channel; None stays None. Channels change every `inner` neurons."""
    if constant is None:
        found = None
    else:
        found = tl.load(constant + offsets // inner % channels, mask=inside, other=0.0).to(DTYPE)
    return found


@triton.jit
def _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE: tl.constexpr):
    """The current of step t: normalised by `scale` and `shift`, `addend` added, where they are not None."""
    x = _load(current, t * stride, offsets, inside, DTYPE)
    if scale is not None:
        x = x * scale + shift
    if addend is not None:
        x += _load(addend, t * size, offsets, inside, DTYPE)
    return x


@triton.jit
def _forward_step(begin, last, v, x, decay, spikes, offsets, inside, CELL: tl.constexpr):
    """v[t] from v[t-1]; stores s[t], which on the last step is NaN where v[t] is broken (`Trace.output`)."""
    u = _integrate(v, x, decay, CELL)
    s = _fire(u, CELL)
    v = _reset(u, s, CELL)
    shown = s + tl.where(last, 0 * v, 0.0)
    tl.store(spikes + begin + offsets, shown.to(spikes.dtype.element_ty), mask=inside)
    return v


@triton.jit
def forward_kernel(
    current,
    scale,
    shift,
    addend,
    initial,
    decay,
    spikes,
    final,
    size,
    stride,
    inner,
    channels,
    CELL: tl.constexpr,
    STEPS: tl.constexpr,
    UNROLL: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """T steps from `initial`, of N = `size` neurons.

    Steps of `current` are `stride` apart: N, or 0 if all share one. `scale` and `shift` `[C]` normalise it;
    `addend` `[T, N]` is added then. `scale` and `shift`, `addend`, `initial` and `final` may be None, and
    `decay` is unless it is trained.
    """
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < size
    size = tl.full((), size, tl.int64)  # T · N may exceed 32 bits
    stride = tl.full((), stride, tl.int64)
    decay = _decay(decay, CELL, DTYPE)
    scale = _channel(scale, offsets, inside, inner, channels, DTYPE)
    shift = _channel(shift, offsets, inside, inner, channels, DTYPE)
    v = _load(initial, 0, offsets, inside, DTYPE)
    if UNROLL:
        for t in tl.static_range(STEPS):
            x = _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
            v = _forward_step(t * size, t == STEPS - 1, v, x, decay, spikes, offsets, inside, CELL)
    else:
        for t in range(STEPS):
            x = _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
            v = _forward_step(t * size, t == STEPS - 1, v, x, decay, spikes, offsets, inside, CELL)
    if final is not None:
        tl.store(final + offsets, v, mask=inside)


@triton.jit
def _again(v, x, decay, CELL: tl.constexpr):
    """u[t] and v[t] from v[t-1]."""
    u = _integrate(v, x, decay, CELL)
    return u, _reset(u, _fire(u, CELL), CELL)


@triton.jit
def _show(shown, begin, offsets, values, inside):
    """Store a block unless `shown` is None."""
    if shown is not None:
        tl.store(shown + begin + offsets, values, mask=inside)


@triton.jit
def _backward_step(
    begin,
    window,
    u,
    grad_v,
    decay,
    grad_spikes,
    grad_current,
    upstreams,
    deltas,
    carries,
    counts,
    offsets,
    inside,
    CELL: tl.constexpr,
    SHAPE: tl.constexpr,
):
    """dL/du[t] and dL/dv[t-1] from u[t] and dL/dv[t]; stores dL/dI[t], and its parts where they are shown."""
    upstream = _load(grad_spikes, begin, offsets, inside, u.dtype)
    carry = grad_v
    if not CELL.detached:
        upstream -= (CELL.threshold if CELL.soft else u) * grad_v
    if not CELL.soft:
        carry = tl.where(_fire(u, CELL) > 0, 0.0, grad_v)
    delta = upstream * _derivative(u, tl.load(window).to(u.dtype), CELL, SHAPE)
    _show(upstreams, begin, offsets, upstream, inside)
    _show(deltas, begin, offsets, delta, inside)
    _show(carries, begin, offsets, carry, inside)
    if counts is not None:
        shown = delta if carries is None else delta + carry
        tl.store(counts, tl.sum(((shown != 0) & inside).to(tl.int32)))
    grad_u = delta + carry
    grad_v = decay * grad_u
    grad = grad_v if CELL.scaled else grad_u
    tl.store(grad_current + begin + offsets, grad.to(grad_current.dtype.element_ty), mask=inside)
    return grad_u, grad_v


@triton.jit
def backward_kernel(
    grad_spikes,
    grad_final,
    current,
    scale,
    shift,
    addend,
    initial,
    decay,
    windows,
    potentials,
    upstreams,
    deltas,
    carries,
    counts,
    grad_current,
    grad_initial,
    grad_decay,
    size,
    stride,
    inner,
    channels,
    CELL: tl.constexpr,
    SHAPE: tl.constexpr,
    STEPS: tl.constexpr,
    UNROLL: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Recompute u[t], then go back through the T steps; the input is that of `forward_kernel`.

    With UNROLL u[t] is kept in registers, else in `potentials`. What a watcher is shown goes to `potentials`,
    `upstreams`, `deltas` and `carries` `[T, N]`, and how many of the gradients that it watches are not 0 to
    `counts` `[T, programs]`, int32; each unless it is None. `grad_current` is of the normalised current;
    `grad_decay` is float64, one number per program. Any of `grad_spikes`, `grad_final`, `initial`,
    `grad_initial` and `grad_decay` may be None.
    """
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < size
    size = tl.full((), size, tl.int64)
    stride = tl.full((), stride, tl.int64)
    if counts is not None:
        counts += tl.program_id(0)
    decay = _decay(decay, CELL, DTYPE)
    scale = _channel(scale, offsets, inside, inner, channels, DTYPE)
    shift = _channel(shift, offsets, inside, inner, channels, DTYPE)
    first = _load(initial, 0, offsets, inside, DTYPE)
    grad_v = _load(grad_final, 0, offsets, inside, DTYPE)
    of_decay = tl.zeros([BLOCK], DTYPE)
    v = first
    if UNROLL:
        kept = ()
        for t in tl.static_range(STEPS):
            x = _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
            u, v = _again(v, x, decay, CELL)
            kept = kept + (u,)  # noqa: RUF005 (Triton knows no unpacking)
            _show(potentials, t * size, offsets, u, inside)
        for back in tl.static_range(STEPS):
            t = STEPS - 1 - back
            u = kept[STEPS - 1 - back]
            grad_u, grad_v = _backward_step(
                t * size,
                windows + t,
                u,
                grad_v,
                decay,
                grad_spikes,
                grad_current,
                upstreams,
                deltas,
                carries,
                None if counts is None else counts + t * tl.num_programs(0),
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
                    held += _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
                of_decay += grad_u * held
    else:
        for t in range(STEPS):
            x = _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
            u, v = _again(v, x, decay, CELL)
            tl.store(potentials + t * size + offsets, u, mask=inside)
        tl.debug_barrier()  # one thread of the program may read what another wrote
        for back in range(STEPS):
            t = STEPS - 1 - back
            begin = t * size
            grad_u, grad_v = _backward_step(
                begin,
                windows + t,
                _load(potentials, begin, offsets, inside, DTYPE),
                grad_v,
                decay,
                grad_spikes,
                grad_current,
                upstreams,
                deltas,
                carries,
                None if counts is None else counts + t * tl.num_programs(0),
                offsets,
                inside,
                CELL,
                SHAPE,
            )
            if grad_decay is not None:
                u = _load(potentials, tl.maximum(begin - size, 0), offsets, inside, DTYPE)
                held = tl.where(begin > 0, _reset(u, _fire(u, CELL), CELL), first)
                if CELL.scaled:
                    held += _input(t, size, current, stride, scale, shift, addend, offsets, inside, DTYPE)
                of_decay += grad_u * held
    if grad_initial is not None:
        tl.store(grad_initial + offsets, grad_v, mask=inside)
    if grad_decay is not None:
        tl.store(grad_decay + tl.program_id(0), tl.sum(of_decay.to(tl.float64)))


INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)
"""Whether TRITON_INTERPRET=1 was set when triton was imported: kernels then run on the CPU."""
