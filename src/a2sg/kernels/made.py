"""Listeners for tensors that are known to be spikes, 0 or 1, because a neuron made them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

listeners: list[Callable[[Tensor], object]] = []
"""Called with each `[T, B, ...]` that a neuron with one threshold returns; empty in an ordinary step."""
