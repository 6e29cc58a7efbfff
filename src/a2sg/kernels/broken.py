"""How a neuron handles NaN and infinity in its input.

Its spikes are then NaN, so that the loss shows it (`Trace.output`). On a CPU, where reading a value costs
nothing, an error names the neuron's input at once, unless the training loop checks the loss anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels.tracing import tracing

_passing = 0
"""How many contexts of `letting_through` are open."""


@contextmanager
def letting_through() -> Iterator[None]:
    """Inside this context no neuron checks for NaN: the caller checks the loss."""
    global _passing
    _passing += 1
    try:
        yield
    finally:
        _passing -= 1


def require_finite(total: Tensor | None, spikes: Tensor) -> None:
    """Raise `InputError` for NaN or infinity, if a value can be read without waiting.

    Args:
        total: Σ v[T]: NaN and infinity persist in the potential, so the last step shows them all. None if
            not computed.
        spikes: only their shape is used.
    """
    if total is None or total.device.type != "cpu" or _passing or tracing(total):
        return
    if not math.isfinite(total.item()):
        raise InputError(
            f"the input of a neuron holds NaN or infinity (shape {tuple(spikes.shape)}): check the "
            "data, the learning rate and the normalisation before it"
        )
