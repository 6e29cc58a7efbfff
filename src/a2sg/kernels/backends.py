"""Which backend computes a neuron: the one place where that is chosen."""

from __future__ import annotations

import logging
import shutil
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from a2sg.errors import InputError

log = logging.getLogger("a2sg")

Backend = Literal["auto", "reference", "compiled"]
BACKENDS: tuple[str, ...] = get_args(Backend)

WORTH_COMPILING = 2**17
"""Elements and steps of an input from which `auto` compiles: below, the call itself takes the time."""


def use_compiled(backend: Backend, current: Tensor, window: Tensor) -> bool:
    """Whether the compiled backend computes this input; else the reference does.

    Raises:
        InputError: if `compiled` was asked for where it cannot run.
    """
    if backend == "reference" or torch.compiler.is_compiling():
        return False  # inside the user's own torch.compile the reference is what gets compiled
    if backend == "auto" and current.numel() < WORTH_COMPILING:
        return False
    reason = _obstacle(current.device.type)
    if window.dim() > 1:
        reason = "windows differ within a step: only the reference backend takes them"
    if reason and backend == "compiled":
        raise _unusable(reason)
    if reason and window.dim() == 1:
        _tell(reason)
    return not reason


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
        raise _unusable(reason) from error
    _broken[device.type] = reason
    _tell(reason)


def _unusable(reason: str) -> InputError:
    return InputError(f"backend 'compiled' cannot be used: {reason}; use backend='auto' or 'reference'")


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
