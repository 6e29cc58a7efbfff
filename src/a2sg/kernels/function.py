"""The neuron as a differentiable function of [T, B, ...] tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from a2sg.kernels import backends, reference, triton_neuron, triton_sums
from a2sg.kernels.backends import Backend
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
    backend: Backend = "auto",
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
        backend: how it is computed; see `a2sg.kernels.backends`.

    Returns:
        spikes `[T, B, ...]` in the dtype of `current`, the final potential `[B, ...]`, and the
        potentials before reset `[T, B, ...]` or None.
    """
    result: tuple[Tensor, Tensor, Tensor | None] = _IntegrateAndFire.apply(
        current, decay, initial, window, dynamics, observer, keep_potentials, backend
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
        backend: Backend,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        ctx.backend = reference if keep_potentials else backends.choose(backend, current, window, dynamics)
        potentials = None
        if ctx.backend is not reference:
            try:
                spikes, final = ctx.backend.forward(current, decay, initial, dynamics)
            except backends.compile_errors() as error:
                backends.give_up(current.device, error, backend)
                ctx.backend = reference
        if ctx.backend is reference:
            trace = reference.forward(current, decay, initial, dynamics)
            spikes, final = torch.stack(trace.spikes).to(current.dtype), trace.final
            potentials = torch.stack(trace.potentials) if keep_potentials else None
        trained = decay if isinstance(decay, Tensor) else None
        ctx.save_for_backward(current, window, trained, initial)
        ctx.decay = None if trained is not None else decay
        ctx.dynamics = dynamics
        ctx.observer = observer
        ctx.set_materialize_grads(False)
        return spikes, final, potentials

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_spikes: Tensor | None, grad_final: Tensor | None, grad_potentials: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        current, window, trained, initial = ctx.saved_tensors
        decay = ctx.decay if trained is None else trained
        wanted = (grad_spikes, grad_final)
        problem = (current, decay, initial, window, ctx.dynamics)
        # An observed pass looks at every step's gradient on the way: the reference has them at hand.
        if ctx.backend is not reference and ctx.observer is None:
            grads = ctx.backend.backward(*wanted, *problem, decay_needs_grad=ctx.needs_input_grad[1])
        else:
            if ctx.observer is not None and ctx.backend is triton_neuron:
                ctx.observer.prefer(triton_sums.fill)
            grads = reference.backward(
                *wanted,
                *problem,
                grad_potentials=grad_potentials,
                decay_needs_grad=ctx.needs_input_grad[1],
                observer=ctx.observer,
            )
        return (
            grads.current.to(current.dtype),
            None if grads.decay is None else grads.decay.to(trained.dtype),
            grads.initial if ctx.needs_input_grad[2] else None,
            *(None,) * 5,
        )
