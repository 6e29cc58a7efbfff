"""The neuron as a differentiable function of [T, B, ...] tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from a2sg.kernels import reference
from a2sg.kernels.dynamics import Dynamics
from a2sg.window.observer import Observer


def integrate_and_fire(
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    dynamics: Dynamics,
    observer: Observer | None = None,
    *,
    keep_potentials: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a neuron for T steps.

    Args:
        current: input `[T, B, ...]`, float16, bfloat16, float32 or float64.
        decay: leak per step, a number or a 0-d tensor (which then gets a gradient).
        initial: potential before the first step `[B, ...]`; None is rest.
        window: `[T]`, or `[T, ...]` with `window[t]` broadcasting against `[B, ...]`.
        dynamics: what the neuron does in a step.
        observer: where the backward pass leaves its sums; None on unobserved iterations.
        keep_potentials: whether to return u[t] as well, as a differentiable output.

    Returns:
        spikes `[T, B, ...]` in the dtype of `current`, the final potential `[B, ...]`, and the
        potentials before reset `[T, B, ...]` or None.
    """
    result: tuple[Tensor, Tensor, Tensor | None] = _IntegrateAndFire.apply(
        current, decay, initial, window, dynamics, observer, keep_potentials
    )
    return result


class _IntegrateAndFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        decay: Tensor | float,
        initial: Tensor | None,
        window: Tensor,
        dynamics: Dynamics,
        observer: Observer | None,
        keep_potentials: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        trace = reference.forward(current, decay, initial, dynamics)
        trained = decay if isinstance(decay, Tensor) else None
        ctx.save_for_backward(current, window, trained, initial)
        ctx.decay = None if trained is not None else decay
        ctx.dynamics = dynamics
        ctx.observer = observer
        ctx.set_materialize_grads(False)
        spikes = torch.stack(trace.spikes).to(current.dtype)
        return spikes, trace.final, torch.stack(trace.potentials) if keep_potentials else None

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_spikes: Tensor | None, grad_final: Tensor | None, grad_potentials: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        current, window, trained, initial = ctx.saved_tensors
        decay = ctx.decay if trained is None else trained
        grads = reference.backward(
            reference.forward(current, decay, initial, ctx.dynamics),
            current,
            decay,
            window,
            ctx.dynamics,
            grad_spikes,
            grad_final,
            grad_potentials,
            decay_needs_grad=ctx.needs_input_grad[1],
            observer=ctx.observer,
        )
        return (
            grads.current.to(current.dtype),
            None if grads.decay is None else grads.decay.to(trained.dtype),
            grads.initial if ctx.needs_input_grad[2] else None,
            *(None,) * 4,
        )
