"""The multi-step neuron as one kernel per pass: C++ on a CPU, Triton on a GPU, from the reference itself.

The functions of `reference` are traced over the rows of a step in memory order, with the windows read from
memory: neither a new window nor a smaller last batch causes another compilation.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from a2sg.kernels import fills, reference
from a2sg.kernels.compiled_kinds import Extent, Kind, Wanted
from a2sg.kernels.compilers import LARGEST, UNROLLED, missing
from a2sg.kernels.drive import POTENTIAL, Arriving, Drive, Gradients, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.fuse import Kernel, fuse
from a2sg.kernels.inductor import Shape
from a2sg.kernels.layout import Place, layout_of
from a2sg.kernels.watch import Steps, Watcher

LANES = (64, 16, 1)
"""Sizes of the innermost loop: with a fixed size, kernels need no code for a remainder."""


class Plan(NamedTuple):
    """How one input lies in memory, and the kernels for it."""

    kind: Kind
    current: Place
    """Of the current, and of its gradient."""
    spikes: Place
    """`[T, B, ...]`."""
    step: Place
    """`[B, ...]`."""
    sizes: tuple[int, ...]
    """Values of the named sizes of `Kind.step`."""
    kernels: dict[bool | Wanted, Kernel]
    """Those built so far: forward, by whether they give the final potential, and backward, by `Wanted`."""

    def kernel(self, wanted: bool | Wanted) -> Kernel:
        """The kernel of a pass, built on first use."""
        found = self.kernels.get(wanted)
        if found is None:
            make = _forward(self.kind, wanted) if isinstance(wanted, bool) else _backward(self.kind, wanted)
            found = self.kernels[wanted] = make
        return found


class Compiled:
    """TorchInductor's kernels."""

    name = "compiled"
    fill = staticmethod(fills.kernel)

    def obstacle(self, drive: Drive, window: Tensor, dynamics: Dynamics) -> str:
        if window.dim() > 1:
            return "windows differ within a step: only the reference backend takes them"
        if drive.steps > UNROLLED:
            return f"a kernel unrolls all steps, and at most {UNROLLED} compile in reasonable time"
        current = drive.current
        if current.device.type == "cuda" and drive.neurons * drive.steps >= LARGEST:
            return f"an input of {LARGEST:,} elements or more needs larger indices"
        return missing(current.device.type)

    def forward(self, drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
        plan: Plan = drive.plan or _plan(drive, dynamics)
        spikes, *rest = plan.kernel(want_final)([*plan.sizes, *_inputs(plan, drive)])
        final = plan.step.restore(rest.pop(0)) if want_final else None
        return Spikes(plan.spikes.restore(spikes), final, rest.pop() if rest else None, plan)

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
        plan: Plan = drive.plan or _plan(drive, dynamics)
        kind = plan.kind
        grad_spikes, grad_final, _ = arriving
        wanted = Wanted(
            grad_spikes is not None,
            grad_final is not None,
            decay_needs_grad,
            threshold_needs_grad,
            None if watcher is None else watcher.gradient,
            window.dtype,
        )
        given = [] if grad_spikes is None else [plan.spikes.dense(grad_spikes.to(kind.dtype))]
        given += [] if grad_final is None else [plan.step.dense(grad_final.to(POTENTIAL[kind.dtype]))]
        current, *rest = plan.kernel(wanted)([*plan.sizes, *given, window, *_inputs(plan, drive)])
        decay = _like(drive.decay, rest.pop(0)) if decay_needs_grad else None
        threshold = _like(drive.threshold, rest.pop(0)) if threshold_needs_grad else None
        initial = plan.step.restore(rest.pop(0)) if kind.initial else None
        if watcher is not None:
            potential, upstream, delta, *carry = rest
            shown = Steps(0, potential, upstream, carry[0] if carry else None, delta)
            watcher.watch(dynamics.gate, window, self.fill)(shown)
        return Gradients(plan.current.restore(current), decay, initial, threshold)


COMPILED = Compiled()


def _plan(drive: Drive, dynamics: Dynamics) -> Plan:
    current = drive.current
    return _planned(
        current.shape,
        current.stride(),
        current.dtype,
        current.device,
        drive.steps,
        _extent(drive.decay) if isinstance(drive.decay, Tensor) else drive.decay,
        None if drive.threshold is None else _extent(drive.threshold),
        drive.initial is not None,
        None if drive.affine is None else drive.affine.size,
        None if drive.addend is None else drive.addend.dtype,
        dynamics,
    )


def _like(constant: Tensor | float | None, grad: Tensor) -> Tensor:
    """The gradient of a constant, in the shape of the constant."""
    assert isinstance(constant, Tensor)
    return grad.view(constant.shape)


def _extent(constant: Tensor) -> Extent:
    return "channel" if constant.dim() else "layer"


@lru_cache(maxsize=4096)
def _planned(
    shape: torch.Size,
    stride: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    steps: int,
    decay: float | Extent,
    threshold: Extent | None,
    initial: bool,
    joined: tuple[int, int] | None,
    addend: torch.dtype | None,
    dynamics: Dynamics,
) -> Plan:
    current = torch.empty_strided(shape, stride, device="meta")
    if joined is not None:
        current = current.unflatten(0, joined)
    apart = joined is not None or "channel" in (decay, threshold)
    layout, held = layout_of(current, channels=apart), len(current)
    # Depends on the size of a sample only, so that a smaller batch uses the same kernels.
    batch, channels, *_ = (*layout.shape, 1)
    sample = layout.size // batch
    where: Literal["inner", "outer"] | None = None
    if apart:
        where = "inner" if layout.channels_last else "outer"
    inner = {None: sample, "inner": channels, "outer": sample // channels}[where]
    lane = next(lane for lane in LANES if inner % lane == 0)
    rows: dict[str | None, tuple[int, ...]] = {
        None: (layout.size // lane,),
        "inner": (layout.size // channels, channels // lane),
        "outer": (batch, channels, inner // lane),
    }
    kind = Kind(
        dynamics,
        steps,
        steps > held,
        decay,
        threshold,
        initial,
        where,
        joined is not None,
        addend,
        dtype,
        device,
        lane,
    )
    place = layout.steps(held) if joined is None else layout.joined(held)
    return Plan(kind, place, layout.steps(steps), layout.step, rows[where], {})


def _inputs(plan: Plan, drive: Drive) -> list[Tensor]:
    """Those of current, decay, threshold, initial potential, scale, shift and addend that are tensors."""
    wide = POTENTIAL[plan.kind.dtype]
    found = [plan.current.dense(drive.current)]
    found += [x.contiguous() for x in (drive.decay, drive.threshold) if isinstance(x, Tensor)]
    if drive.initial is not None:
        found.append(plan.step.dense(drive.initial.to(wide)))
    if drive.affine is not None:
        scale, shift, _ = drive.affine
        found += [scale, shift] if scale.dtype == shift.dtype == wide else [scale.to(wide), shift.to(wide)]
    if drive.addend is not None:
        found.append(plan.spikes.dense(drive.addend))
    return found


@cache
def _forward(kind: Kind, want_final: bool) -> Kernel:
    def run(*inputs: Tensor) -> list[Tensor]:
        done = reference.trace(kind.drive(list(inputs)), kind.dynamics)
        found = [done.output(kind.dtype)]
        found += [done.final] if want_final else []
        return found + ([done.final.sum()] if kind.device.type == "cpu" else [])

    return fuse(run, kind.inputs(), kind.device)


@cache
def _backward(kind: Kind, wanted: Wanted) -> Kernel:
    def run(*inputs: Tensor) -> list[Tensor]:
        rest = list(inputs)
        grad_spikes = rest.pop(0) if wanted.spikes else None
        grad_final = rest.pop(0) if wanted.final else None
        window = rest.pop(0)
        shown: list[Steps] = []
        grads = reference.gradients(
            Arriving(grad_spikes, grad_final),
            kind.drive(rest),
            window,
            kind.dynamics,
            decay_needs_grad=wanted.decay,
            threshold_needs_grad=wanted.threshold,
            look=shown.append if wanted.steps else None,
            watched=wanted.steps or "spike",
        )
        found: list[Tensor | None] = [grads.current.to(kind.dtype)]
        found += [grads.decay] if wanted.decay else []
        found += [grads.threshold] if wanted.threshold else []
        found += [grads.initial] if kind.initial else []
        for steps in shown:
            found += [steps.potential, steps.upstream, steps.delta, steps.carry]
        return [part for part in found if part is not None]

    wide = POTENTIAL[kind.dtype]
    given: list[tuple[Shape, torch.dtype]] = []
    given += [((kind.steps, *kind.step), kind.dtype)] if wanted.spikes else []
    given += [(kind.step, wide)] if wanted.final else []
    return fuse(run, [*given, ((kind.steps,), wanted.window), *kind.inputs()], kind.device)
