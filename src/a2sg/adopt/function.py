"""The library's spikes in the forward pass, the surrogate in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from a2sg.adopt import intercept
from a2sg.adopt.ramp import Ramp
from a2sg.errors import InputError
from a2sg.kernels.drive import POTENTIAL
from a2sg.kernels.gate import Gate
from a2sg.kernels.tracing import require_no_transform

Look = Callable[[Tensor, Tensor, Tensor], None]
"""Called with the potential, the upstream gradient and δ of one step `[B, ...]`."""


def fire(
    potential: Tensor,
    window: Tensor | Ramp,
    gate: Gate,
    look: Look | None,
    spikes: Callable[[], Tensor],
) -> Tensor:
    """The result of `spikes()`, with ds/du of `gate` at a window.

    Args:
        potential: as `gate` reads it, any shape.
        window: 0-d; or the gate's shape at that window, if it is a ramp.
        gate: thresholds and surrogate.
        look: called with the step in the backward pass; None on unobserved iterations.
        spikes: makes the spikes, of the shape of `potential`.
    """
    require_no_transform()
    if not torch.compiler.is_compiling() and torch.jit.is_tracing():
        raise InputError(
            "torch.jit.trace would record the spikes of its example as constants: trace under torch.no_grad()"
        )
    node = intercept.node()
    if node is None:
        return _Spike.apply(potential, window, gate, look, spikes)
    made = _Spike.forward(node, potential, window, gate, look, spikes)
    node._forward_cls = _Instead
    return made


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        potential: Tensor,
        window: Tensor | Ramp,
        gate: Gate,
        look: Look | None,
        spikes: Callable[[], Tensor],
    ) -> Tensor:
        if torch.compiler.is_compiling():
            ctx.save_for_backward(potential, window)
            ctx.window = None
        else:  # not saved, since a checkpoint that repeats this step would take it from another one
            ctx.save_for_backward(potential)
            ctx.window = window
        ctx.gate = gate
        ctx.look = look
        return spikes()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        potential, *saved = ctx.saved_tensors
        given = saved[0] if saved else ctx.window
        window = given if isinstance(given, Tensor) else given.window
        wide = potential.to(POTENTIAL[potential.dtype])
        upstream = upstream.to(wide.dtype)
        if ctx.look is not None:
            with torch.no_grad():
                exact = upstream * ctx.gate.derivative(wide, window)
                ctx.look(wide, upstream, exact)
        if isinstance(given, Tensor) or torch.is_grad_enabled():
            delta = upstream * ctx.gate.derivative(wide, window)
        else:
            delta = given.delta(wide, upstream)
        return delta.to(potential.dtype), None, None, None, None


class _Instead(_Spike):
    """Differentiates another function of a potential, whose context then is `_Spike`'s."""

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        delta = _Spike.backward(ctx, upstream)[0]
        return delta, *(None for _ in ctx.needs_input_grad[1:])
