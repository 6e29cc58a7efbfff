"""Checks on the input of layers over time: `[T, B, ...]`, its T, and the state from the call before."""

from __future__ import annotations

import torch
from torch import Tensor

from a2sg.errors import InputError, require
from a2sg.neuron.state import State
from a2sg.window.site import Site


def require_sequence(current: Tensor) -> None:
    """Raise `InputError` unless `current` is a floating point tensor `[T, B, ...]`."""
    if not isinstance(current, Tensor):
        kind = type(current).__name__
        way_out = ": neurons must be leaf modules of the torch.fx tracer" if kind == "Proxy" else ""
        raise InputError(f"the input must be a tensor, not {kind}{way_out}")
    if current.dim() < 2:
        raise InputError(
            f"the input must be [T, B, ...], not of shape {tuple(current.shape)}: time first, then the batch"
        )
    if current.shape[0] == 0:
        raise InputError(f"the input has no steps (shape {tuple(current.shape)}): it must be [T, B, ...]")
    if not current.is_floating_point():
        scaled = ".float() / 255 if these are pixels" if current.dtype == torch.uint8 else ".float()"
        raise InputError(f"the input must be floating point, not {current.dtype}: convert it with {scaled}")


def require_steps(steps: int, site: Site) -> None:
    """Raise `InputError` if gradients would flow through more steps than the site has windows for."""
    if steps > site.steps and site.groups is None and torch.is_grad_enabled():
        raise InputError(
            f"this neuron has steps={site.steps}, but the input has T={steps} in its first dimension: inputs "
            "are [T, B, ...], so if the batch came first, use x.transpose(0, 1). To train with more steps "
            f"than windows, build the neuron with steps={steps} (load_state_dict still loads the weights) or "
            "groups=1 (all steps share a window); under torch.no_grad() any T works, and with "
            "return_state=True you can feed a sequence in parts"
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
