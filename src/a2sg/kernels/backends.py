"""Which backend computes a neuron: the one place where that is chosen."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from functools import cache
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels import compiled, reference, triton_neuron
from a2sg.kernels.dynamics import Dynamics

log = logging.getLogger("a2sg")

Backend = Literal["auto", "reference", "compiled", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

WORTH_COMPILING = 2**30
"""Elements times steps after which the reference has taken about as long as compiling would: some seconds."""

_work: Counter[tuple[Dynamics, int, torch.dtype]] = Counter()


def choose(backend: Backend, current: Tensor, window: Tensor, dynamics: Dynamics) -> ModuleType:
    """The module that computes this input: `reference`, `compiled` or `triton_neuron`.

    On a CPU `auto` begins to compile once a neuron has done `WORTH_COMPILING`, so that a short run never
    waits for a compiler, and a long one gives away no more than a compilation. Both backends give the
    same spikes there. On a GPU it compiles at once. Triton's own kernels are taken when asked for.

    Raises:
        InputError: if `compiled` or `triton` was asked for where it cannot run.
    """
    if backend == "reference" or torch.compiler.is_compiling():
        return reference  # inside the user's own torch.compile the reference is what gets compiled
    if backend == "triton":
        if triton_neuron.supports(current, window, dynamics):
            return triton_neuron
        needs = "a CUDA device, the package triton, one window per step and a shape of a2sg.surrogate"
        raise _unusable("triton", f"it needs {needs}")
    if backend == "auto" and current.device.type == "cpu":
        kind = (dynamics, current.shape[0], current.dtype)
        _work[kind] += current.numel()
        if _work[kind] < WORTH_COMPILING:
            return reference
    reason = _obstacle(current.device.type)
    if window.dim() > 1:
        reason = "windows differ within a step: only the reference backend takes them"
    if reason and backend == "compiled":
        raise _unusable("compiled", reason)
    if reason and window.dim() == 1:
        _tell(reason)
    return reference if reason else compiled


def compile_errors() -> tuple[type[Exception], ...]:
    """What a compilation that does not work raises."""
    import torch._dynamo.exc  # here, as these take a second or two to import
    import torch._inductor.exc

    return torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError


_broken: dict[str, str] = {}


def give_up(device: torch.device, error: Exception, backend: Backend) -> None:
    """Stop compiling for a kind of device, as it failed.

    Raises:
        InputError: if `compiled` was asked for.
    """
    reason = f"compilation failed ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
    if backend == "compiled":
        raise _unusable(backend, reason) from error
    _broken[device.type] = reason
    _tell(reason)


def _unusable(backend: str, reason: str) -> InputError:
    return InputError(f"backend {backend!r} cannot be used: {reason}; use backend='auto' or 'reference'")


def _obstacle(device: str) -> str:
    return _broken.get(device) or _missing(device)


@cache
def _missing(device: str) -> str:
    """What keeps torch.compile from working on a kind of device; "" if nothing is known to."""
    if device == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl")):
        return "no C++ compiler was found"
    if device not in ("cpu", "cuda"):
        return f"it is not known to work on {device}"
    return ""


@cache
def _tell(reason: str) -> None:
    log.warning("neurons run uncompiled: %s", reason)
