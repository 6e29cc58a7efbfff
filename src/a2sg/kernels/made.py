"""Who wants to know which tensors are spikes: 0 or 1 by the way they were made, so that nobody need look."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

listeners: list[Callable[[Tensor], object]] = []
"""Called with each `[T, B, ...]` that a neuron of one threshold gives. Nobody listens in an ordinary step."""
