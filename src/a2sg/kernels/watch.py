"""Who looks on while a neuron's backward pass runs, and what is shown to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill

Gradient = Literal["spike", "full"]
"""Which local gradient is looked at: dL/ds · f, or dL/du with the leak's carry."""


class Step(NamedTuple):
    """What the backward pass knows of one step."""

    potential: Tensor
    """u[t] `[B, ...]`."""
    upstream: Tensor
    """dL/ds[t], by all ways."""
    carry: Tensor | None
    """The part of dL/du[t] that does not depend on the window; None is 0."""
    delta: Tensor
    """upstream · f under the window in use."""


Look = Callable[[int, Step], None]
"""Is shown every step t of one backward pass, the last one first."""


class Watcher(Protocol):
    """Looks on during backward passes."""

    gradient: Gradient

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """Begin to watch one backward pass.

        Args:
            gate: thresholds and surrogate of the neuron.
            window: the windows in use `[T]`.
            fill: the backend's fastest way to sums at candidate windows.
        """
        ...
