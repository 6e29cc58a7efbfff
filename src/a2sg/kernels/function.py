"""The neuron as a differentiable function of [T, B, ...] tensors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from a2sg.errors import InputError
from a2sg.kernels import backends, reference
from a2sg.kernels.backend import Backend
from a2sg.kernels.backends import BackendName
from a2sg.kernels.drive import Affine, Arriving, Drive, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.reference import REFERENCE
from a2sg.kernels.watch import Watcher
from a2sg.kernels.work import Work


class Norm(NamedTuple):
    """A batch normalisation per channel `[C]`: (current - mean) · inverse · weight + bias."""

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor
    inverse: Tensor
    """1 / sqrt(variance + eps)."""
    of_batch: bool
    """Whether mean and inverse are those of this very batch, so that gradients go through them."""


class Call(NamedTuple):
    """How a neuron is to be run."""

    steps: int
    dynamics: Dynamics
    work: Work
    """What the neuron's model has computed so far."""
    watcher: Watcher | None = None
    keep_final: bool = False
    keep_potentials: bool = False
    backend: BackendName = "auto"


def integrate_and_fire(
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    call: Call,
    norm: Norm | None = None,
    addend: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run a neuron for T steps.

    Args:
        current: input `[T, B, ...]`, float16, bfloat16, float32 or float64; `[1, B, ...]` is the input of
            every step.
        decay: leak per step, a number or a 0-d tensor (which then gets a gradient).
        initial: potential before the first step `[B, ...]`; None is rest.
        window: `[T]`, or `[T, ...]` with `window[t]` broadcasting against `[B, ...]`.
        call: T, what the neuron does in a step, and how it is computed.
        norm: a normalisation of `current` `[T, B, C, ...]` on the way; the backward pass still keeps
            `current` alone.
        addend: added to the normalised current, of the shape of the spikes.

    Returns:
        spikes `[T, B, ...]` in the dtype of `current`, the final potential `[B, ...]` and the potentials
        before reset `[T, B, ...]`, these two None if they were not asked for.

    Raises:
        InputError: on a CPU, for NaN or infinity in `current`.
    """
    result: tuple[Tensor, Tensor | None, Tensor | None] = _IntegrateAndFire.apply(
        current, decay, initial, window, *(norm or (None, None, None, None, False)), addend, call
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
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        inverse: Tensor | None,
        of_batch: bool,
        addend: Tensor | None,
        call: Call,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        affine = None if mean is None else _affine(weight, bias, mean, inverse)
        drive = Drive(current, call.steps, decay, initial, affine, addend)
        potentials = None
        backend: Backend = REFERENCE
        if call.keep_potentials:
            done = reference.trace(drive, call.dynamics)
            found = Spikes(torch.stack(done.spikes).to(current.dtype), done.final, done.final.sum())
            potentials = torch.stack(done.potentials)
        else:
            backend = backends.choose(call.backend, drive, window, call.dynamics, call.work)
            try:
                found = backend.forward(drive, call.dynamics, want_final=call.keep_final)
            except FusionError as error:
                backend = backends.give_up(current.device, error, call.backend)
                found = backend.forward(drive, call.dynamics)
        spikes, final, total = found
        # NaN and infinity persist in the potential, so the last step shows them all, at 1/T of the cost.
        # On a GPU the look would stop the stream: there the loss shows them.
        if not torch.compiler.is_compiling() and current.device.type == "cpu" and total is not None:
            _require_finite(total, current)
        trained = decay if isinstance(decay, Tensor) else None
        ctx.save_for_backward(current, window, trained, initial, weight, bias, mean, inverse, addend)
        ctx.decay = None if trained is not None else decay
        ctx.backend = backend
        ctx.call = call
        ctx.of_batch = of_batch
        ctx.set_materialize_grads(False)
        return spikes, final if call.keep_final else None, potentials

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_spikes: Tensor | None, grad_final: Tensor | None, grad_potentials: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        current, window, trained, initial, weight, bias, mean, inverse, addend = ctx.saved_tensors
        call: Call = ctx.call
        decay = ctx.decay if trained is None else trained
        affine = None if mean is None else _affine(weight, bias, mean, inverse)
        drive = Drive(current, call.steps, decay, initial, affine, addend)
        backend: Backend = ctx.backend
        grads = backend.backward(
            Arriving(grad_spikes, grad_final, grad_potentials),
            drive,
            window,
            call.dynamics,
            decay_needs_grad=ctx.needs_input_grad[1],
            watcher=call.watcher,
        )
        grad_addend = grads.current.to(addend.dtype) if addend is not None else None
        grad_current, grad_weight, grad_bias = grads.current.to(current.dtype), None, None
        if mean is not None:
            norm = Norm(weight, bias, mean, inverse, ctx.of_batch)
            wants = ctx.needs_input_grad[4:6]
            grad_current, grad_weight, grad_bias = _through_norm(grad_current, current, norm, wants)
        return (
            grad_current,
            None if grads.decay is None else grads.decay.to(trained.dtype),
            grads.initial if ctx.needs_input_grad[2] else None,
            None,
            grad_weight,
            grad_bias,
            *(None,) * 3,
            grad_addend,
            None,
        )


def _affine(weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse: Tensor | None) -> Affine:
    """(current - mean) · inverse · weight + bias as one multiplication and one addition."""
    assert inverse is not None
    scale = inverse if weight is None else weight * inverse
    shift = -mean * scale
    return Affine(scale, shift if bias is None else shift + bias)


def _through_norm(
    grad: Tensor, current: Tensor, norm: Norm, wants: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of the norm's input, weight and bias, from that of its output."""
    weight, _, mean, inverse, of_batch = norm
    wants_weight, wants_bias = wants
    if of_batch:
        found = torch.ops.aten.native_batch_norm_backward(
            grad.flatten(0, 1),
            current.flatten(0, 1),
            weight,
            None,
            None,
            mean,
            inverse,
            True,
            0.0,
            [True, wants_weight, wants_bias],
        )
        return found[0].view_as(current), found[1], found[2]
    others = [d for d in range(grad.dim()) if d != 2]
    whitened = Affine(inverse, -mean * inverse).over(current.shape)
    scale = Affine(inverse if weight is None else weight * inverse, mean).over(current.shape).scale
    return (
        grad * scale.to(grad.dtype),
        (grad * whitened.apply(current)).sum(others).to(inverse.dtype) if wants_weight else None,
        grad.sum(others, dtype=inverse.dtype) if wants_bias else None,
    )


def _require_finite(total: Tensor, current: Tensor) -> None:
    if not math.isfinite(total.item()):
        raise InputError(
            f"the input of a neuron holds NaN or infinity (shape {tuple(current.shape)}): check the "
            "data, the learning rate and the normalisation before it"
        )
