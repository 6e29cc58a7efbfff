"""The neuron as Triton kernels: one program per block of neurons, all T steps with the state in registers.

Importable without triton; `obstacle` then reports it. Rounding is that of the reference (no fused
multiply-add, exact division), so both give the same spikes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from a2sg.kernels import fills
from a2sg.kernels.drive import POTENTIAL, Arriving, Drive, Gradients, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.layout import Layout, Place, layout_of
from a2sg.kernels.triton_constants import Levels, available, kernels, shape_of
from a2sg.kernels.triton_launch import launch
from a2sg.kernels.watch import Steps, Watcher

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

KEPT = 32
"""Up to this T the backward pass keeps u[t] in registers and all loops over T are unrolled.

Beyond it u[t] goes through a buffer [T, N]: unrolled code would take seconds to compile and spill.
"""

REGISTERS = 64
"""Registers of a thread that hold potentials, at most."""

WARPS = 4


@dataclass(frozen=True)
class Cell(Levels):
    """A neuron's equations as compile-time constants."""

    threshold: float
    soft: bool
    detached: bool
    scaled: bool
    decay: float | None
    """None for a trained one."""


class Plan(NamedTuple):
    """How one input lies in memory, and what the kernels are compiled for."""

    layout: Layout
    current: Place
    """Of the current, and of its gradient unless steps share it."""
    steps: int
    inner: int
    """Neurons next to each other that share a channel."""
    channels: int
    wide: torch.dtype
    """Of potentials."""
    block: int
    constants: dict[str, Any]

    @property
    def programs(self) -> int:
        """Programs that one launch takes."""
        return -(-self.layout.size // self.block)

    def buffer(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Memory for `[T, B, ...]`, laid out like the current."""
        return like.new_empty((self.steps, self.layout.size), dtype=dtype)


class Triton:
    """The package's own kernels, for windows `[T]` on the device of the current.

    Their results have the memory layout of the current, if that is dense.
    """

    name = "triton"
    fill = staticmethod(fills.kernel)

    def obstacle(self, drive: Drive, window: Tensor, dynamics: Dynamics) -> str:
        current = drive.current
        fits = (
            window.dim() == 1
            and not drive.by_channel
            and drive.threshold is None
            and current.dtype in DTYPES
            and 0 < drive.neurons < 2**30  # offsets within a step are 32-bit
            and shape_of(dynamics.gate.surrogate) is not None
            and available(current.device.type)
        )
        needs = (
            "a CUDA device, triton 3.4 or later, one window per step, a shape of a2sg.surrogate, one decay "
            "and a threshold that is a number"
        )
        return "" if fits else f"it needs {needs}"

    def forward(self, drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
        plan: Plan = drive.plan or _plan(drive, dynamics)
        current = drive.current
        spikes = plan.buffer(current, current.dtype)
        final = current.new_empty((1, plan.layout.size), dtype=plan.wide) if want_final else None
        launch(
            kernels().forward_kernel,
            (plan.programs,),
            current,
            *_inputs(plan, drive),
            spikes,
            final,
            *_sizes(plan, drive),
            **plan.constants,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
        v = None if final is None else plan.layout.restore(final)[0]
        return Spikes(plan.layout.restore(spikes), v, None, plan)

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
        current, layout, wide = drive.current, plan.layout, plan.wide
        grad_spikes, grad_final, _ = arriving
        carried = watcher is not None and watcher.gradient == "full"
        shown = [plan.buffer(current, wide) if wanted else None for wanted in (watcher, watcher, carried)]
        counts = (
            None if watcher is None else current.new_empty((plan.steps, plan.programs), dtype=torch.int32)
        )
        # Not stored in the gradient's buffer: the thread that reads an element need not be the one that wrote
        # it, and a low-precision gradient could not hold it.
        kept = watcher is not None or not plan.constants["UNROLL"]
        potentials = plan.buffer(current, wide) if kept else None
        grad_current = plan.buffer(current, wide if drive.shared else current.dtype)
        grad_initial = None if drive.initial is None else current.new_empty((1, layout.size), dtype=wide)
        grad_decay = current.new_empty(plan.programs, dtype=torch.float64) if decay_needs_grad else None
        launch(
            kernels().backward_kernel,
            (plan.programs,),
            current,
            None if grad_spikes is None else layout.flatten(grad_spikes),
            None if grad_final is None else layout.flatten(grad_final[None]),
            *_inputs(plan, drive),
            window.contiguous(),
            potentials,
            *shown,
            counts,
            grad_current,
            grad_initial,
            grad_decay,
            *_sizes(plan, drive),
            **plan.constants,
            SHAPE=shape_of(dynamics.gate.surrogate),
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
        if watcher is not None:
            assert potentials is not None
            parts = (None if part is None else layout.restore(part) for part in (potentials, *shown))
            potential, upstream, delta, carry = parts
            assert potential is not None
            assert upstream is not None
            assert delta is not None
            assert counts is not None
            look = watcher.watch(dynamics.gate, window, self.fill)
            look(Steps(0, potential, upstream, carry, delta, counts.sum(1)))
        found = grad_current.sum(0, keepdim=True) if drive.shared else grad_current
        return Gradients(
            plan.current.restore(found),
            None if grad_decay is None else grad_decay.sum().to(wide),
            None if grad_initial is None else layout.restore(grad_initial)[0],
        )


TRITON = Triton()


def _plan(drive: Drive, dynamics: Dynamics) -> Plan:
    current, decay = drive.current, drive.decay
    joined = None if drive.affine is None else drive.affine.size
    constant = None if isinstance(decay, Tensor) else float(decay)
    return _planned(
        current.shape, current.stride(), current.dtype, drive.steps, joined, constant, dynamics, KEPT
    )


@lru_cache(maxsize=4096)
def _planned(
    shape: torch.Size,
    stride: tuple[int, ...],
    dtype: torch.dtype,
    steps: int,
    joined: tuple[int, int] | None,
    decay: float | None,
    dynamics: Dynamics,
    kept: int,
) -> Plan:
    current = torch.empty_strided(shape, stride, device="meta")
    if joined is not None:
        current = current.unflatten(0, joined)
    layout, held = layout_of(current, channels=joined is not None), len(current)
    _, channels, *space = (*layout.shape, 1)
    inner = 1 if joined is None or layout.channels_last else torch.Size(space).numel()
    wide = POTENTIAL[dtype]
    block = _block(steps, wide)
    constants = {
        "CELL": _cell(decay, dynamics),
        "STEPS": steps,
        "UNROLL": steps <= kept,
        "DTYPE": _triton(wide),
        "BLOCK": block,
    }
    place = layout.steps(held) if joined is None else layout.joined(held)
    return Plan(layout, place, steps, inner, channels, wide, block, constants)


def _inputs(plan: Plan, drive: Drive) -> list[Tensor | None]:
    """Current, scale, shift, addend, initial potential and trained decay; each may be None but the first."""
    layout, affine, addend, initial, decay = (
        plan.layout,
        drive.affine,
        drive.addend,
        drive.initial,
        drive.decay,
    )
    return [
        plan.current.dense(drive.current),
        None if affine is None else affine.scale.contiguous(),
        None if affine is None else affine.shift.contiguous(),
        None if addend is None else layout.flatten(addend),
        None if initial is None else layout.flatten(initial[None]),
        decay if isinstance(decay, Tensor) else None,
    ]


def _sizes(plan: Plan, drive: Drive) -> tuple[int, int, int, int]:
    """N, the distance of two steps of the current, and `inner` and `channels` of the plan."""
    size = plan.layout.size
    return size, 0 if drive.shared else size, plan.inner, plan.channels


def _cell(decay: float | None, dynamics: Dynamics) -> Cell:
    assert dynamics.threshold is not None
    return Cell(
        dynamics.gate.thresholds,
        dynamics.threshold,
        dynamics.reset == "soft",
        dynamics.detach_reset,
        dynamics.order == "scaled",
        decay,
    )


def _block(steps: int, dtype: torch.dtype) -> int:
    """Neurons per program: eight per thread, or fewer if their potentials over T do not fit in registers."""
    each = 4 if steps > KEPT else max(1, min(8, REGISTERS * 4 // (dtype.itemsize * steps)))
    return 32 * WARPS * (1 << each.bit_length() - 1)


def _triton(dtype: torch.dtype) -> object:
    tl = kernels().tl
    return tl.float64 if dtype == torch.float64 else tl.float32
