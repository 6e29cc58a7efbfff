"""What layers over time take: `[T, B, ...]`, and the state of the call before."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.errors import InputError, require
from a2sg.neuron.state import State


def require_sequence(current: Tensor) -> None:
    """Raise `InputError` unless `current` is a floating point tensor `[T, B, ...]`."""
    if not isinstance(current, Tensor):
        raise InputError(f"the input must be a tensor, not {type(current).__name__}")
    if current.dim() < 2:
        raise InputError(
            f"the input must be [T, B, ...], not of shape {tuple(current.shape)}: time first, then the batch"
        )
    if not current.is_floating_point():
        scaled = ".float() / 255 if these are pixels" if current.dtype == torch.uint8 else ".float()"
        raise InputError(f"the input must be floating point, not {current.dtype}: convert it with {scaled}")


def require_steps(current: Tensor, steps: int) -> None:
    """Raise `InputError` unless `current` is such a tensor, with T equal to `steps`."""
    require_sequence(current)
    if current.shape[0] != steps:
        hint = (
            "the batch seems to come first, so put time there: x.transpose(0, 1)"
            if current.dim() > 2 and current.shape[1] == steps
            else "inputs are [T, B, ...]; repeat static ones with x.expand(T, *x.shape), and for a "
            "sequence in parts pass return_state=True"
        )
        raise InputError(
            f"this neuron has steps={steps}, but the input has T={current.shape[0]} in its first dimension "
            f"(shape {tuple(current.shape)}): {hint}"
        )


def require_state(state: State, current: Tensor) -> State:
    """Return `state`; raise `InputError` unless it fits `current`."""
    require(
        isinstance(state, State),
        f"the state must be what the last call returned, a State, not {type(state).__name__}",
    )
    require(
        state.potential.shape == current.shape[1:],
        f"the state has shape {tuple(state.potential.shape)}, the steps of the input have "
        f"{tuple(current.shape[1:])}: pass the state of the same sequence, or None to start from rest",
    )
    return state
