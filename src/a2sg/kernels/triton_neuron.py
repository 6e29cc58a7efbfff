"""The neuron as Triton kernels: one program per block of neurons, all T steps with the state in registers.

Importable without triton; `supports` then says no. Rounding is that of the reference (no fused
multiply-add, exact division), so both make the same spikes.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from a2sg.kernels import reference
from a2sg.kernels.drive import Drive, Gradients, Spikes, compute_dtype
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.layout import layout_of
from a2sg.surrogate import Arctan, Dspike, FastSigmoid, Sigmoid, Surrogate, WindowedAffine
from a2sg.window.observer import Observer

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

KEPT = 32
"""Up to this T the backward pass keeps u[t] in registers and all loops over T are unrolled.

Beyond it u[t] goes through a buffer [T, N]: unrolled code would take seconds to compile and spill.
"""

REGISTERS = 64
"""Those of a thread that hold potentials, at most."""

WARPS = 4


@dataclass(frozen=True)
class Levels:
    """What the sums need of a neuron, as compile-time constants."""

    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Cell(Levels):
    """A neuron's equations as compile-time constants."""

    threshold: float
    soft: bool
    detached: bool
    scaled: bool
    decay: float | None
    """None for a trained one."""


@dataclass(frozen=True)
class Shape:
    """A surrogate as compile-time constants: which formula, with which numbers.

    `affine`: a + bz; `affine_abs`: a + b|z|; `sech2`: a sech²(bz/2); `arctan`; `fast_sigmoid`.
    """

    kind: str
    a: float
    b: float
    bounded: bool
    mass: float | None
    """The area to divide by at window 1; None for the free height."""


def supports(current: Tensor, window: Tensor, dynamics: Dynamics) -> bool:
    """Whether the kernels can run here, on this input, and know the shape."""
    return (
        window.dim() == 1
        and current.dtype in DTYPES
        and 0 < current[0].numel() < 2**30  # offsets within a step are 32-bit
        and shape_of(dynamics.gate.surrogate) is not None
        and available(current.device.type)
    )


@cache
def available(device: str) -> bool:
    """Whether triton is installed and runs on tensors of a kind of device: CUDA, or any if interpreted."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device == "cuda" or (os.environ.get("TRITON_INTERPRET") == "1" and kernels().INTERPRETED)


@cache
def kernels() -> ModuleType:
    """The kernels; imports triton."""
    from a2sg.kernels import triton_device

    return triton_device


@cache
def shape_of(surrogate: Surrogate) -> Shape | None:
    """A shape's formula and numbers; None if the kernels do not know it, such as a user's own."""
    cls = type(surrogate)
    kind, a, b = "", 0.0, 0.0
    if isinstance(surrogate, WindowedAffine):
        own = type(surrogate)
        if own.profile is WindowedAffine.profile and own.ordinate is WindowedAffine.ordinate:
            kind = "affine_abs" if surrogate.symmetric else "affine"
            a, b = surrogate.offset, surrogate.slope
    elif isinstance(surrogate, Dspike) and cls.profile is Dspike.profile:
        kind = "sech2"
        a, b = surrogate.profile(torch.zeros((), dtype=torch.float64)).item(), surrogate.temperature
    elif cls.profile is Sigmoid.profile:
        kind, a, b = "sech2", 1.0, 1.0
    elif cls.profile is Arctan.profile:
        kind = "arctan"
    elif cls.profile is FastSigmoid.profile:
        kind = "fast_sigmoid"
    if not kind or cls.derivative is not Surrogate.derivative:
        return None
    return Shape(kind, a, b, surrogate.bounded, surrogate.mass if surrogate.area == "unit" else None)


def forward(drive: Drive, dynamics: Dynamics, *, want_final: bool = True) -> Spikes:
    """As `reference.forward`; what it gives lies in memory as the current does, if that is dense."""
    current, decay, initial = _step_by_step(drive)
    layout = layout_of(current)
    x = layout.flatten(current)
    steps, size = x.shape
    dtype = compute_dtype(current.dtype)
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
    grad_spikes: Tensor | None,
    grad_final: Tensor | None,
    drive: Drive,
    window: Tensor,
    dynamics: Dynamics,
    *,
    decay_needs_grad: bool = False,
    observer: Observer | None = None,
) -> Gradients:
    """As `reference.backward`, for windows `[T]` on the device of the current.

    An observed pass looks at every step's gradient on the way: the reference has them at hand.
    """
    if observer is not None:
        return reference.backward(
            grad_spikes,
            grad_final,
            drive,
            window,
            dynamics,
            decay_needs_grad=decay_needs_grad,
            observer=observer,
        )
    current, decay, initial = _step_by_step(drive)
    layout = layout_of(current)
    x = layout.flatten(current)
    steps, size = x.shape
    dtype = compute_dtype(current.dtype)
    block = _block(steps, dtype)
    programs = -(-size // block)
    # A buffer of its own, not the gradient's: threads may hold other elements when they come to read it,
    # and a low-precision gradient could not hold it.
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


def _step_by_step(drive: Drive) -> tuple[Tensor, Tensor | float, Tensor | None]:
    """Current (normalised, one for every step), decay and initial potential."""
    drive = drive.normalized()
    return drive.current.expand(drive.steps, *drive.current.shape[1:]), drive.decay, drive.initial


def _cell(decay: Tensor | float, dynamics: Dynamics) -> Cell:
    return Cell(
        dynamics.gate.thresholds,
        dynamics.threshold,
        dynamics.reset == "soft",
        dynamics.detach_reset,
        dynamics.order == "scaled",
        None if isinstance(decay, Tensor) else float(decay),
    )


def _block(steps: int, dtype: torch.dtype) -> int:
    """Neurons per program: eight a thread, fewer if T times as many potentials do not fit in registers."""
    each = 4 if steps > KEPT else max(1, min(8, REGISTERS * 4 // (dtype.itemsize * steps)))
    return 32 * WARPS * (1 << each.bit_length() - 1)


def _triton(dtype: torch.dtype) -> object:
    tl = kernels().tl
    return tl.float64 if dtype == torch.float64 else tl.float32
