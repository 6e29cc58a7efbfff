"""Saved networks at another number of time steps."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.neuron import SpikingNeuron


def with_steps(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The `state_dict` of a network of other steps, with windows that fit `model`:

        model = a2sg.create_model("resnet19", steps=6)
        model.load_state_dict(with_steps(torch.load("four_steps.pt"), model))

    Nothing but the windows depends on T. As the last step is adapted for itself and every earlier one
    from the step after it, steps are counted from the end: the last window stays the last, and so on. Of
    more steps than `model` has the first are left out; where there are fewer, the first one's is repeated.

    Args:
        state: what `state_dict()` gave; it is left as it is.
        model: what is to load it.

    Returns:
        A state dict like `state`. Entries that are not windows of neurons of `model` are passed on, for
        `load_state_dict` to judge.
    """
    fitted = copy(state)  # and not dict(state): PyTorch's has its versions as an attribute
    for name, module in model.named_modules():
        key = f"{name}.window" if name else "window"
        if isinstance(module, SpikingNeuron) and key in fitted:
            fitted[key] = _retimed(fitted[key], module.steps)
    return fitted


def _retimed(window: Tensor, steps: int) -> Tensor:
    """Windows `[S, ...]` as `[steps, ...]`."""
    at = torch.arange(len(window) - steps, len(window), device=window.device)
    return window[at.clamp(min=0)]
