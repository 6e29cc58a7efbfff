"""The choice of a backend, in one place."""

from __future__ import annotations

import logging
from functools import cache
from typing import Literal, get_args

from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels.backend import Backend
from a2sg.kernels.compiled import COMPILED
from a2sg.kernels.compilers import missing
from a2sg.kernels.drive import Drive
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.reference import REFERENCE
from a2sg.kernels.tracing import tracing
from a2sg.kernels.triton_constants import available
from a2sg.kernels.triton_neuron import TRITON
from a2sg.kernels.work import Work

log = logging.getLogger("a2sg")

BackendName = Literal["auto", "reference", "compiled", "triton"]
BACKENDS: tuple[str, ...] = get_args(BackendName)

WORTH_COMPILING = 2**30
"""Elements times steps after which the reference has taken about as long as compiling: a few seconds."""

NOT_IN_TRITON = "backend 'triton' takes one decay and thresholds that are numbers: other neurons are compiled"

_broken: dict[tuple[str, str], str] = {}
"""Why compiling has failed in this process, by backend and kind of device."""


def choose(name: BackendName, drive: Drive, window: Tensor, dynamics: Dynamics, work: Work) -> Backend:
    """The backend that computes this input.

    On a CPU `auto` starts to compile once a kind of neuron has done `WORTH_COMPILING`, so that a short run
    never waits for a compiler, and a long one loses no more than the time of a compilation. Both backends
    give the same spikes there. On a GPU it uses the Triton kernels for the neurons that they support, and
    compiles the others at once. If `triton` was requested, neurons whose threshold is a tensor, or whose
    decay differs by channel, are compiled instead, and the log says so once. Beyond `UNROLLED` steps nothing
    is compiled.

    Raises:
        InputError: if `compiled` or `triton` was requested but cannot run.
    """
    current = drive.current
    if name == "reference" or tracing(current) or current.numel() == 0:
        return REFERENCE  # inside the user's own torch.compile, the reference gets compiled
    if name == "auto" and current.device.type == "cpu":
        done = work.add(dynamics, drive.steps, current.dtype, drive.neurons * drive.steps)
        if done < WORTH_COMPILING:
            return REFERENCE
    kind = current.device.type
    on_gpu = name == "auto" and kind != "cpu"
    if on_gpu and not (_broken.get(("triton", kind)) or TRITON.obstacle(drive, window, dynamics)):
        return TRITON
    backend: Backend = TRITON if name == "triton" else COMPILED
    if backend is TRITON and (drive.by_channel or drive.threshold is not None):
        _tell(NOT_IN_TRITON)
        backend = COMPILED
    reason = backend.obstacle(drive, window, dynamics)
    if backend is COMPILED:
        reason = reason or _broken.get(("compiled", kind), "")
    if not reason:
        return backend
    if name != "auto":
        raise _unusable(name, reason)
    if window.dim() == 1:
        _tell(f"neurons run uncompiled: {reason}")
    return REFERENCE


def fastest(device: str) -> BackendName:
    """The backend that `auto` ends up with on a kind of device, in a long run."""
    return outlook(device)[0]


def outlook(device: str) -> tuple[BackendName, str]:
    """The backend that `auto` ends up with on a kind of device, and why or when."""
    if device != "cpu" and available(device) and ("triton", device) not in _broken:
        return "triton", "at once; neurons that its kernels do not support are compiled"
    if obstacle := _broken.get(("compiled", device)) or missing(device):
        return "reference", obstacle
    if device == "cpu":
        return "compiled", f"once it has done {WORTH_COMPILING:,} elements times steps; reference until then"
    return "compiled", "at once"


def instead(
    failed: Backend, error: FusionError, name: BackendName, drive: Drive, window: Tensor, dynamics: Dynamics
) -> Backend:
    """The backend to continue with after one failed to compile: it is not tried again on this kind of device.

    Raises:
        InputError: if `compiled` or `triton` was requested.
    """
    reason = f"compilation failed ({error.reason})"
    if name in ("compiled", "triton"):
        raise _unusable(name, reason) from error
    kind = drive.current.device.type
    _broken[failed.name, kind] = reason
    can_compile = ("compiled", kind) not in _broken and not COMPILED.obstacle(drive, window, dynamics)
    _tell(f"neurons run {'without backend ' + repr(failed.name) if can_compile else 'uncompiled'}: {reason}")
    return COMPILED if can_compile else REFERENCE


def _unusable(name: BackendName, reason: str) -> InputError:
    return InputError(f"backend {name!r} cannot be used: {reason}; use backend='auto' or 'reference'")


@cache
def _tell(message: str) -> None:
    log.warning(message)
