"""The neuron as Triton kernels: one program per block of neurons, all T steps with the state in registers.

Importable without triton; `obstacle` then reports it. Rounding is that of the reference (no fused
multiply-add, exact division), so both give the same spikes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from a2sg.kernels import fills, reference
from a2sg.kernels.drive import POTENTIAL, Arriving, Drive, Gradients, Spikes
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.layout import layout_of
from a2sg.kernels.triton_constants import Levels, available, kernels, shape_of
from a2sg.kernels.watch import Watcher

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
            "a CUDA device, the package triton, one window per step, a shape of a2sg.surrogate, one decay "
            "and a threshold that is a number"
        )
        return "" if fits else f"it needs {needs}"

    def forward(self, drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
        current, decay, initial = _step_by_step(drive)
        layout = layout_of(current)
        x = layout.flatten(current)
        steps, size = x.shape
        dtype = POTENTIAL[current.dtype]
        spikes = torch.empty_like(x)
        final = x.new_empty((1, size), dtype=dtype)
        block = _block(steps, dtype)
        with torch.cuda.device_of(x):
            kernels().forward_kernel[(-(-size // block),)](
                x,
                None if initial is None else layout.flatten(initial[None]),
                decay if isinstance(decay, Tensor) else None,
                spikes,
                final,
                size,
                CELL=_cell(decay, dynamics),
                STEPS=steps,
                UNROLL=steps <= KEPT,
                DTYPE=_triton(dtype),
                BLOCK=block,
                num_warps=WARPS,
                enable_fp_fusion=False,
            )
        return Spikes(layout.restore(spikes), layout.restore(final)[0], None)

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
        if watcher is not None:  # the kernels do not keep every step's gradient, the reference does
            look = watcher.watch(dynamics.gate, window, self.fill)
            return reference.gradients(
                arriving,
                drive,
                window,
                dynamics,
                decay_needs_grad=decay_needs_grad,
                look=look,
                watched=watcher.gradient,
            )
        grad_spikes, grad_final, _ = arriving
        current, decay, initial = _step_by_step(drive)
        layout = layout_of(current)
        x = layout.flatten(current)
        steps, size = x.shape
        dtype = POTENTIAL[current.dtype]
        block = _block(steps, dtype)
        programs = -(-size // block)
        # Not stored in the gradient's buffer: the thread that reads an element need not be the one that wrote
        # it, and a low-precision gradient could not hold it.
        potentials = None if steps <= KEPT else torch.empty_like(x, dtype=dtype)
        grad_current = torch.empty_like(x)
        grad_initial = None if initial is None else x.new_empty((1, size), dtype=dtype)
        grad_decay = x.new_empty(programs, dtype=torch.float64) if decay_needs_grad else None
        with torch.cuda.device_of(x):
            kernels().backward_kernel[(programs,)](
                None if grad_spikes is None else layout.flatten(grad_spikes),
                None if grad_final is None else layout.flatten(grad_final[None]),
                x,
                None if initial is None else layout.flatten(initial[None]),
                decay if isinstance(decay, Tensor) else None,
                window.contiguous(),
                potentials,
                grad_current,
                grad_initial,
                grad_decay,
                size,
                CELL=_cell(decay, dynamics),
                SHAPE=shape_of(dynamics.gate.surrogate),
                STEPS=steps,
                DTYPE=_triton(dtype),
                BLOCK=block,
                num_warps=WARPS,
                enable_fp_fusion=False,
            )
        found = layout.restore(grad_current)
        return Gradients(
            found.sum(0, keepdim=True) if drive.shared else found,
            None if grad_decay is None else grad_decay.sum().to(dtype),
            None if grad_initial is None else layout.restore(grad_initial)[0],
        )


TRITON = Triton()


def _step_by_step(drive: Drive) -> tuple[Tensor, Tensor | float, Tensor | None]:
    """The current of every step (normalised), decay and initial potential."""
    drive = drive.normalized()
    return drive.current.expand(drive.steps, *drive.current.shape[1:]), drive.decay, drive.initial


def _cell(decay: Tensor | float, dynamics: Dynamics) -> Cell:
    assert dynamics.threshold is not None
    return Cell(
        dynamics.gate.thresholds,
        dynamics.threshold,
        dynamics.reset == "soft",
        dynamics.detach_reset,
        dynamics.order == "scaled",
        None if isinstance(decay, Tensor) else float(decay),
    )


def _block(steps: int, dtype: torch.dtype) -> int:
    """Neurons per program: eight per thread, or fewer if their potentials over T do not fit in registers."""
    each = 4 if steps > KEPT else max(1, min(8, REGISTERS * 4 // (dtype.itemsize * steps)))
    return 32 * WARPS * (1 << each.bit_length() - 1)


def _triton(dtype: torch.dtype) -> object:
    tl = kernels().tl
    return tl.float64 if dtype == torch.float64 else tl.float32
