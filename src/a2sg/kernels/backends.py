"""Which backend computes a neuron: the one place where that is chosen."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels import compiled, compiled_sums, reference, triton_neuron, triton_sums
from a2sg.kernels.drive import Drive
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.fuse import FusionError
from a2sg.window.sums import Fill

log = logging.getLogger("a2sg")

Backend = Literal["auto", "reference", "compiled", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

FILLS: dict[ModuleType, Fill] = {compiled: compiled_sums.fill, triton_neuron: triton_sums.fill}
"""Each backend's own way to the sums of an observed pass; the others take torch's."""

WORTH_COMPILING = 2**30
"""Elements times steps after which the reference has taken about as long as compiling would: some seconds."""

_work: Counter[tuple[Dynamics, int, torch.dtype]] = Counter()
_earlier: dict[str, int] = {}


def work_done() -> dict[str, int]:
    """What neurons that `auto` chose for have done so far, by kind: plain data for a checkpoint."""
    return _earlier | {repr(kind): done for kind, done in _work.items()}


def set_work_done(work: Mapping[str, int]) -> None:
    """Go on from `work`, as `work_done` gave it; {} is a fresh start.

    Compiled gradients differ from the reference's by rounding. So a run repeats to the bit only if its
    neurons begin to compile in the same iteration, whatever was done before in this process, or before
    it was resumed.
    """
    _work.clear()
    _earlier.clear()
    _earlier.update(work)


def choose(backend: Backend, drive: Drive, window: Tensor, dynamics: Dynamics) -> ModuleType:
    """The module that computes this input: `reference`, `compiled` or `triton_neuron`.

    On a CPU `auto` begins to compile once a neuron has done `WORTH_COMPILING`, so that a short run never
    waits for a compiler, and a long one gives away no more than a compilation. Both backends give the
    same spikes there. On a GPU it compiles at once. Triton's own kernels are taken when asked for.

    Raises:
        InputError: if `compiled` or `triton` was asked for where it cannot run.
    """
    current = drive.current
    if backend == "reference" or torch.compiler.is_compiling() or current.numel() == 0:
        return reference  # inside the user's own torch.compile the reference is what gets compiled
    if backend == "triton":
        if triton_neuron.supports(current, window, dynamics):
            return triton_neuron
        needs = "a CUDA device, the package triton, one window per step and a shape of a2sg.surrogate"
        raise _unusable("triton", f"it needs {needs}")
    if backend == "auto" and current.device.type == "cpu":
        kind = (dynamics, drive.steps, current.dtype)
        if kind not in _work:
            _work[kind] = _earlier.get(repr(kind), 0)
        _work[kind] += current[0].numel() * drive.steps
        if _work[kind] < WORTH_COMPILING:
            return reference
    reason = _obstacle(current.device.type)
    if window.dim() > 1:
        reason = "windows differ within a step: only the reference backend takes them"
    elif current.device.type == "cuda" and current[0].numel() * drive.steps >= compiled.LARGEST:
        reason = f"an input of {compiled.LARGEST:,} elements or more needs larger indices"
    if reason and backend == "compiled":
        raise _unusable("compiled", reason)
    if reason and window.dim() == 1:
        _tell(reason)
    return reference if reason else compiled


_broken: dict[str, str] = {}


def fastest(device: str) -> Backend:
    """What `auto` comes to on a kind of device, in a long run."""
    return outlook(device)[0]


def outlook(device: str) -> tuple[Backend, str]:
    """What `auto` comes to on a kind of device, and why or when."""
    if obstacle := _obstacle(device):
        return "reference", obstacle
    if device == "cpu":
        return "compiled", f"once it has done {WORTH_COMPILING:,} elements times steps; reference until then"
    return "compiled", "at once"


def give_up(device: torch.device, error: FusionError, backend: Backend) -> None:
    """Stop compiling for a kind of device, as it failed.

    Raises:
        InputError: if `compiled` was asked for.
    """
    reason = f"compilation failed ({str(error).strip().splitlines()[0]})"
    if backend == "compiled":
        raise _unusable(backend, reason) from error
    _broken[device.type] = reason
    _tell(reason)


def _unusable(backend: str, reason: str) -> InputError:
    return InputError(f"backend {backend!r} cannot be used: {reason}; use backend='auto' or 'reference'")


def _obstacle(device: str) -> str:
    return _broken.get(device) or _missing(device)


def find_compiler() -> str | None:
    """Path of the C++ compiler; None if there is none."""
    names = (os.environ.get("CXX", "g++"), "g++", "clang++", "c++", "cl")
    return next((path for name in names if (path := shutil.which(name))), None)


@cache
def _missing(device: str) -> str:
    """What keeps torch.compile from working on a kind of device; "" if nothing is known to."""
    if device == "cpu" and not find_compiler():
        return "no C++ compiler was found"
    if device not in ("cpu", "cuda"):
        return f"it is not known to work on {device}"
    return ""


@cache
def _tell(reason: str) -> None:
    log.warning("neurons run uncompiled: %s", reason)
