"""The multi-step neuron in plain torch: the definition that every faster backend must match.

Shapes: current, spikes and potentials are `[T, B, ...]`; the state between calls is `[B, ...]`.
Potentials are float32 inside (float64 for float64 input). Only the input current is stored for the backward
pass, which recomputes the potentials.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels import fills, traced
from a2sg.kernels.drive import POTENTIAL, Arriving, Drive, Gradients, Spikes, gathered
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.watch import Gradient, Look, Steps, Watcher


class Trace(NamedTuple):
    """One pass over T steps: lists of length T, and the state after the last one."""

    potentials: list[Tensor]
    """u[t], before the reset."""
    gated: list[Tensor]
    """u[t] as the gate takes it: relative to the threshold, if that is a tensor."""
    spikes: list[Tensor]
    """s[t]."""
    before: list[Tensor | None]
    """v[t-1]; None stands for rest (0)."""
    final: Tensor
    height: Tensor | float
    """What a soft reset subtracts per spike."""
    current: Tensor
    """`[T, B, ...]` or `[1, B, ...]`, normalised."""

    def output(self, dtype: torch.dtype) -> Tensor:
        """Spikes `[T, B, ...]`, the last one NaN where a potential has ever been NaN or infinite.

        NaN >= threshold is False: without this, a broken neuron would look like a silent one. Broken
        potentials stay broken, so the last step shows them all.
        """
        last = torch.add(self.spikes[-1], self.final, alpha=0)
        return torch.stack([*self.spikes[:-1], last]).to(dtype)


Fire = Callable[[Tensor, int], Tensor]
"""From u[t] as the gate takes it `[B, ...]`, and t (from 0), to s[t]."""


def trace(drive: Drive, dynamics: Dynamics, fire: Fire | None = None) -> Trace:
    """Integrate, fire and reset, T times (method, section 2).

    Args:
        drive: the input.
        dynamics: what the neuron does in a step.
        fire: replaces the hard spike, to differentiate through; `detach_reset` then detaches its result.
    """
    if drive.affine is not None:
        drive = drive.normalized()
    current, steps, decay, potential = drive.current, drive.steps, drive.decay, drive.initial
    dtype = POTENTIAL[current.dtype]
    potentials, gated, spikes, before = [], [], [], []
    height = drive.threshold if dynamics.threshold is None else dynamics.threshold
    assert height is not None
    for t in range(steps):
        before.append(potential)
        u = current[t % len(current)].to(dtype)
        if dynamics.order == "scaled":
            u = decay * (u if potential is None else potential + u)
        elif potential is not None:
            u = decay * potential + u
        seen = u if drive.threshold is None else u - drive.threshold
        s = dynamics.gate.fire(seen) if fire is None else fire(seen, t)
        felt = s.detach() if fire is not None and dynamics.detach_reset else s
        soft = dynamics.reset == "soft"
        # u * (1 - s), not a selection: an infinite potential then stays visible as NaN.
        potential = u - height * felt if soft else u * (1 - felt)
        potentials.append(u)
        gated.append(seen)
        spikes.append(s)
    assert potential is not None
    return Trace(potentials, gated, spikes, before, potential, height, current)


class Reference:
    """Plain torch."""

    name = "reference"
    fill = staticmethod(fills.uncompiled)

    def obstacle(self, drive: Drive, window: Tensor, dynamics: Dynamics) -> str:
        return ""

    def forward(self, drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
        done = trace(drive, dynamics)
        return Spikes(done.output(drive.current.dtype), done.final, done.final.sum())

    def backward(
        self,
        arriving: Arriving,
        drive: Drive,
        window: Tensor,
        dynamics: Dynamics,
        *,
        decay_needs_grad: bool = False,
        threshold_needs_grad: bool = False,
        watcher: Watcher | None = None,
    ) -> Gradients:
        run = partial(
            gradients,
            arriving,
            drive,
            window,
            dynamics,
            decay_needs_grad=decay_needs_grad,
            threshold_needs_grad=threshold_needs_grad,
        )
        if watcher is None:
            return run()
        if not torch.compiler.is_compiling():
            return run(look=watcher.watch(dynamics.gate, window, self.fill), watched=watcher.gradient)
        shown: list[Steps] = []
        grads = run(look=shown.append, watched=watcher.gradient)
        return traced.show(watcher, window, shown[0], grads)


REFERENCE = Reference()


def gradients(
    arriving: Arriving,
    drive: Drive,
    window: Tensor,
    dynamics: Dynamics,
    *,
    decay_needs_grad: bool = False,
    threshold_needs_grad: bool = False,
    look: Look | None = None,
    watched: Gradient = "spike",
) -> Gradients:
    """See `Backend.backward`; `look` gets all steps at once, with carry if the full gradient is watched."""
    done = trace(drive, dynamics)
    current, decay, height = done.current, drive.decay, done.height
    dtype = done.final.dtype
    soft = dynamics.reset == "soft"
    grad_current: list[Tensor] = []
    upstreams: list[Tensor] = []
    carries: list[Tensor] = []
    deltas: list[Tensor] = []
    of_decay: Tensor | float = 0.0  # summed over steps, of each element
    of_threshold: Tensor | float = 0.0
    grad_v = arriving.final  # dL/dv[t]; None stands for 0
    for t in range(drive.steps - 1, -1, -1):
        u = done.potentials[t]
        upstream = torch.zeros_like(u) if arriving.spikes is None else arriving.spikes[t].to(dtype)
        carry = grad_v
        if grad_v is not None:
            if not dynamics.detach_reset:
                upstream = upstream - (height if soft else u) * grad_v
            if not soft:
                carry = torch.where(done.spikes[t] > 0, torch.zeros_like(grad_v), grad_v)
        if arriving.potentials is not None:
            extra = arriving.potentials[t].to(dtype)
            carry = extra if carry is None else carry + extra
        delta = upstream * dynamics.gate.derivative(done.gated[t], window[t])
        if look is not None:
            upstreams.append(upstream)
            deltas.append(delta)
            if watched == "full":
                carries.append(torch.zeros_like(delta) if carry is None else carry)
        if threshold_needs_grad:
            of_threshold = of_threshold - delta
            if soft and grad_v is not None:
                of_threshold = of_threshold - done.spikes[t] * grad_v
        grad_u = delta if carry is None else delta + carry
        grad_v = decay * grad_u
        grad_current.append(grad_v if dynamics.order == "scaled" else grad_u)
        if decay_needs_grad:
            held = done.before[t]
            if dynamics.order == "scaled":
                step_current = current[t % len(current)].to(dtype)
                held = step_current if held is None else held + step_current
            if held is not None:
                of_decay = of_decay + grad_u * held
    if look is not None:
        u, upstream, delta = map(torch.stack, (done.gated, upstreams[::-1], deltas[::-1]))
        look(Steps(0, u, upstream, torch.stack(carries[::-1]) if carries else None, delta))
    if drive.steps > len(current):
        total = grad_current[0]
        for part in grad_current[1:]:
            total = total + part
        grad_current = [total]
    return Gradients(
        torch.stack(grad_current[::-1]),
        gathered(of_decay, decay) if decay_needs_grad else None,
        grad_v,
        gathered(of_threshold, drive.threshold) if threshold_needs_grad else None,
    )
