"""What a neuron does about NaN and infinity in its input.

Its spikes are NaN then, so that the loss shows it (`Gate.fire`). Where looking at a value costs nothing, on a
CPU, it is an error that names the neuron's input at once, unless who trains looks at the loss anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from a2sg.errors import InputError

_passing = 0
"""How many contexts of `letting_through` are entered."""


@contextmanager
def letting_through() -> Iterator[None]:
    """While it lasts, no neuron looks for NaN: who entered it looks at the loss."""
    global _passing
    _passing += 1
    try:
        yield
    finally:
        _passing -= 1


def require_finite(total: Tensor | None, spikes: Tensor) -> None:
    """Raise `InputError` for NaN or infinity, where a value can be looked at without waiting.

    Args:
        total: Σ v[T]: NaN and infinity persist in the potential, so the last step shows them all. None if
            not at hand.
        spikes: for their shape.
    """
    if torch.compiler.is_compiling() or total is None or total.device.type != "cpu" or _passing:
        return
    if not math.isfinite(total.item()):
        raise InputError(
            f"the input of a neuron holds NaN or infinity (shape {tuple(spikes.shape)}): check the "
            "data, the learning rate and the normalisation before it"
        )
