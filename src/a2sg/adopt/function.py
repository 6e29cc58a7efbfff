"""The library's spikes in the forward pass, the surrogate in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from a2sg.adopt import intercept
from a2sg.adopt.ramp import Ramp
from a2sg.kernels.drive import POTENTIAL
from a2sg.kernels.gate import Gate

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
        if isinstance(window, Tensor):
            ctx.save_for_backward(potential, window)
            ctx.ramp = None
        else:
            ctx.save_for_backward(potential)
            ctx.ramp = window
        ctx.gate = gate
        ctx.look = look
        return spikes()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        potential, *saved = ctx.saved_tensors
        window = saved[0] if saved else ctx.ramp.window
        wide = potential.to(POTENTIAL[potential.dtype])
        upstream = upstream.to(wide.dtype)
        if ctx.look is not None:
            with torch.no_grad():
                exact = upstream * ctx.gate.derivative(wide, window)
                ctx.look(wide, upstream, exact)
        if saved or torch.is_grad_enabled():
            delta = upstream * ctx.gate.derivative(wide, window)
        else:
            delta = ctx.ramp.delta(wide, upstream)
        return delta.to(potential.dtype), None, None, None, None


class _Instead(_Spike):
    """Differentiates another function of a potential, whose context then is `_Spike`'s."""

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        delta = _Spike.backward(ctx, upstream)[0]
        return delta, *(None for _ in ctx.needs_input_grad[1:])
