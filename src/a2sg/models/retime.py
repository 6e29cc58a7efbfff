"""Saved networks at another number of time steps."""

from __future__ import annotations

import warnings
from copy import copy
from typing import Any

from torch import nn

from a2sg.neuron import SpikingNeuron
from a2sg.window.sharing import fitted


def with_steps(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The `state_dict` of a network of other steps, with windows that fit `model`.

    No longer needed: `load_state_dict` itself takes windows of another T, by the same rule (step t has window
    t; beyond the last one it has the last). 0.3.0 removes this function.

    Args:
        state: what `state_dict()` gave; it is left as it is.
        model: the network that will load it.

    Returns:
        A state dict like `state`. Entries that are not windows of neurons of `model` are passed on, for
        `load_state_dict` to judge.
    """
    warnings.warn(
        "load_state_dict now takes windows of another T itself: 0.3.0 removes with_steps",
        FutureWarning,
        stacklevel=2,
    )
    fitting = copy(state)  # and not dict(state): PyTorch's has its versions as an attribute
    for name, module in model.named_modules():
        key = f"{name}.window" if name else "window"
        if isinstance(module, SpikingNeuron) and key in fitting:
            fitting[key] = fitted(fitting[key], len(module.window))
    return fitting
