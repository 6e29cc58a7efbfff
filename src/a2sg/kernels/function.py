"""The neuron as a differentiable function of [T, B, ...] tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from a2sg.kernels import backends, broken, made, reference
from a2sg.kernels.backend import Backend
from a2sg.kernels.backends import BackendName
from a2sg.kernels.drive import Arriving, Drive, Norm, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.normalization import through_norm
from a2sg.kernels.reference import REFERENCE
from a2sg.kernels.tracing import require_no_transform, tracing
from a2sg.kernels.watch import Watcher
from a2sg.kernels.work import Work

Found = TypeVar("Found")


class Call(NamedTuple):
    """How to run a neuron."""

    steps: int
    dynamics: Dynamics
    work: Work
    """How much the neuron's model has computed so far."""
    keep_final: bool = False
    keep_potentials: bool = False
    backend: BackendName = "auto"
    plans: dict[tuple[Any, ...], tuple[Backend, Any]] | None = None
    """The backend for an input, and what it has prepared, by shapes, strides and types; the neuron keeps it.
    None: both are determined again for each input."""


def integrate_and_fire(
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    call: Call,
    norm: Norm | None = None,
    addend: Tensor | None = None,
    threshold: Tensor | None = None,
    watcher: Watcher | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run a neuron for T steps.

    Args:
        current: input `[T, B, ...]`, float16, bfloat16, float32 or float64; `[1, B, ...]` is the input of
            every step.
        decay: leak per step: a number, or a tensor as `spread` gives it, which gets a gradient.
        initial: potential before the first step `[B, ...]`; None is rest.
        window: `[T]`, or `[T, ...]` with `window[t]` broadcasting against `[B, ...]`.
        call: T, what the neuron does in a step, and how it is computed.
        norm: a normalisation to apply to `current`, which then is `[T·B, C, ...]`; the backward pass still
            needs only `current`.
        addend: added to the normalised current, of the shape of the spikes.
        threshold: if it is a tensor, as `spread` gives it; it gets a gradient, and the dynamics have None.
        watcher: watches the backward pass.

    Returns:
        spikes `[T, B, ...]` in the dtype of `current`, the final potential `[B, ...]` and the potentials
        before reset `[T, B, ...]`; the last two are None unless the call keeps them.

    Raises:
        InputError: on a CPU, for NaN or infinity in `current`, see `a2sg.kernels.broken`; or inside
            a transform of `torch.func`.
    """
    require_no_transform()
    weight, bias = (None, None) if norm is None else (norm.weight, norm.bias)
    spikes, *others = _IntegrateAndFire.apply(
        current, decay, initial, window, weight, bias, addend, threshold, norm, call, watcher
    )
    return spikes, *_placed(call, others)


def _placed(call: Call, others: Sequence[Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
    """The final potential and the potentials, with None for those that the call does not keep.

    The function returns only what is kept, since torch 2.6 cannot trace one that returns None.
    """
    left = iter(others)
    return next(left) if call.keep_final else None, next(left) if call.keep_potentials else None


class _IntegrateAndFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        decay: Tensor | float,
        initial: Tensor | None,
        window: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        addend: Tensor | None,
        threshold: Tensor | None,
        norm: Norm | None,
        call: Call,
        watcher: Watcher | None,
    ) -> tuple[Tensor, ...]:
        affine = None if norm is None else norm.affine()
        potentials = None
        if call.keep_potentials:
            backend: Backend = REFERENCE
            drive = Drive(current, call.steps, decay, initial, affine, addend, None, threshold)
            done = reference.trace(drive, call.dynamics)
            found = Spikes(done.output(current.dtype), done.final, done.final.sum())
            potentials = torch.stack(done.potentials)
        else:
            plans, known, plan = None if tracing(current) else call.plans, None, None
            if plans is not None:
                key = _key(call, current, decay, initial, window, norm, addend, threshold)
                known = plans.get(key)
            if known is not None:
                backend, plan = known
            drive = Drive(current, call.steps, decay, initial, affine, addend, plan, threshold)
            if known is None:
                backend = backends.choose(call.backend, drive, window, call.dynamics, call.work)
            try:
                found = backend.forward(drive, call.dynamics, want_final=call.keep_final)
            except FusionError as error:
                backend, found = _instead(
                    backend,
                    error,
                    drive,
                    window,
                    call,
                    lambda other, drive: other.forward(drive, call.dynamics, want_final=call.keep_final),
                )
            settled = backend is not REFERENCE or call.backend == "reference"  # `auto` may still compile
            if plans is not None and known is None and settled:
                plans[key] = backend, found.plan
        spikes, final, total, plan = found
        broken.require_finite(total, spikes)
        if made.listeners and len(call.dynamics.gate.thresholds) == 1 and not torch.compiler.is_compiling():
            for listen in made.listeners:
                listen(spikes)
        tensor = decay if isinstance(decay, Tensor) else None
        mean, inverse = (None, None) if norm is None else (norm.mean, norm.inverse)
        ctx.save_for_backward(
            current, window, tensor, initial, weight, bias, addend, threshold, mean, inverse
        )
        ctx.norm = None if norm is None else norm[4:]
        ctx.affine = affine
        ctx.decay = None if tensor is not None else decay
        ctx.backend, ctx.plan = backend, plan
        ctx.call, ctx.watcher = call, watcher
        ctx.set_materialize_grads(False)
        asked = (final if call.keep_final else None, potentials)
        return spikes, *(one for one in asked if one is not None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        current, window, tensor, initial, weight, bias, addend, threshold, mean, inverse = ctx.saved_tensors
        call: Call = ctx.call
        decay = ctx.decay if tensor is None else tensor
        norm = None if mean is None else Norm(weight, bias, mean, inverse, *ctx.norm)
        backend: Backend = ctx.backend
        wants = ctx.needs_input_grad
        arriving = Arriving(grad_spikes, *_placed(call, others))
        drive = Drive(current, call.steps, decay, initial, ctx.affine, addend, ctx.plan, threshold)
        options: dict[str, Any] = {
            "decay_needs_grad": wants[1],
            "threshold_needs_grad": wants[7],
            "watcher": ctx.watcher,
        }
        try:
            grads = backend.backward(arriving, drive, window, call.dynamics, **options)
        except FusionError as error:
            _, grads = _instead(
                backend,
                error,
                drive,
                window,
                call,
                lambda other, drive: other.backward(arriving, drive, window, call.dynamics, **options),
            )
        grad_addend = None if addend is None else grads.current.view(addend.shape).to(addend.dtype)
        grad_current, grad_weight, grad_bias = grads.current.to(current.dtype), None, None
        if norm is not None:
            grad_current, grad_weight, grad_bias = through_norm(grad_current, current, norm, wants[4:6])
        return (
            grad_current,
            grads.decay,
            grads.initial if wants[2] else None,
            None,
            grad_weight,
            grad_bias,
            grad_addend,
            grads.threshold,
            None,
            None,
            None,
        )


def _instead(
    failed: Backend,
    error: FusionError,
    drive: Drive,
    window: Tensor,
    call: Call,
    run: Callable[[Backend, Drive], Found],
) -> tuple[Backend, Found]:
    """The backend to continue with after one failed to compile, and its results; forgets what is prepared."""
    if call.plans is not None:
        call.plans.clear()
    drive = drive._replace(plan=None)
    while True:
        failed = backends.instead(failed, error, call.backend, drive, window, call.dynamics)
        try:
            return failed, run(failed, drive)
        except FusionError as another:
            error = another


def _key(
    call: Call,
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    norm: Norm | None,
    addend: Tensor | None,
    threshold: Tensor | None,
) -> tuple[Any, ...]:
    """Everything besides the neuron on which the choice of a backend and its preparations depend."""
    return (
        call.steps,
        call.work.loaded,
        current.shape,
        current.stride(),
        current.dtype,
        current.device,
        window.dim(),
        decay.shape if isinstance(decay, Tensor) else decay,
        initial is None,
        None if norm is None else norm.size,
        None if addend is None else addend.dtype,
        None if threshold is None else threshold.shape,
    )
