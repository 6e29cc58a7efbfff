"""The multi-step neuron in plain torch: the definition that every faster backend must match.

Shapes: current, spikes and potentials are `[T, B, ...]`; the state between calls is `[B, ...]`.
Potentials are float32 inside (float64 for float64 input). The backward pass keeps the input current
alone and computes the potentials again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.dynamics import Dynamics
from a2sg.window.observer import Observer


class Trace(NamedTuple):
    """One pass over T steps: lists of length T, and the state after the last one."""

    potentials: list[Tensor]
    """u[t], before the reset."""
    spikes: list[Tensor]
    before: list[Tensor | None]
    """v[t-1]; None stands for rest (0)."""
    final: Tensor


class Gradients(NamedTuple):
    """What the backward pass returns, each in the dtype it was computed in."""

    current: Tensor
    decay: Tensor | None
    initial: Tensor | None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of potentials for an input of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def forward(current: Tensor, decay: Tensor | float, initial: Tensor | None, dynamics: Dynamics) -> Trace:
    """Integrate, fire and reset, T times (method, section 2)."""
    dtype = compute_dtype(current.dtype)
    potential = initial
    potentials, spikes, before = [], [], []
    for step_current in current:
        before.append(potential)
        u = step_current.to(dtype)
        if dynamics.order == "scaled":
            u = decay * (u if potential is None else potential + u)
        elif potential is not None:
            u = decay * potential + u
        s = dynamics.gate.fire(u)
        soft = dynamics.reset == "soft"
        # u * (1 - s) rather than a selection: an infinite potential then stays visible as NaN.
        potential = u - dynamics.threshold * s if soft else u * (1 - s)
        potentials.append(u)
        spikes.append(s)
    assert potential is not None
    return Trace(potentials, spikes, before, potential)


def backward(
    grad_spikes: Tensor | None,
    grad_final: Tensor | None,
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    dynamics: Dynamics,
    *,
    grad_potentials: Tensor | None = None,
    decay_needs_grad: bool = False,
    observer: Observer | None = None,
) -> Gradients:
    """Gradients of the current, the decay and the initial state (method, section 2).

    `window[t]` broadcasts against `[B, ...]`. With an observer, every step leaves its sums there.
    """
    trace = forward(current, decay, initial, dynamics)
    dtype = trace.final.dtype
    soft = dynamics.reset == "soft"
    grad_current: list[Tensor] = []
    grad_decay = torch.zeros((), dtype=dtype, device=current.device) if decay_needs_grad else None
    grad_v = grad_final  # dL/dv[t]; None stands for 0
    later: Tensor | None = None
    for t in range(len(trace.potentials) - 1, -1, -1):
        u = trace.potentials[t]
        upstream = torch.zeros_like(u) if grad_spikes is None else grad_spikes[t].to(dtype)
        carry = grad_v
        if grad_v is not None:
            if not dynamics.detach_reset:
                upstream = upstream - (dynamics.threshold if soft else u) * grad_v
            if not soft:
                carry = torch.where(trace.spikes[t] > 0, torch.zeros_like(grad_v), grad_v)
        if grad_potentials is not None:
            extra = grad_potentials[t].to(dtype)
            carry = extra if carry is None else carry + extra
        delta = upstream * dynamics.gate.derivative(u, window[t])
        if observer is not None:
            later = observer.add(t, dynamics.gate, u, upstream, delta, carry, later)
        grad_u = delta if carry is None else delta + carry
        grad_v = decay * grad_u
        grad_current.append(grad_v if dynamics.order == "scaled" else grad_u)
        if grad_decay is not None:
            held = trace.before[t]
            if dynamics.order == "scaled":
                held = current[t].to(dtype) if held is None else held + current[t].to(dtype)
            if held is not None:
                grad_decay = grad_decay + (grad_u * held).sum()
    return Gradients(torch.stack(grad_current[::-1]), grad_decay, grad_v)
