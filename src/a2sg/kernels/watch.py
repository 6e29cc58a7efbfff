"""`Watcher`, which watches a neuron's backward pass, and `Steps`, what it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill

Gradient = Literal["spike", "full"]
"""Which local gradient is watched: dL/ds · f, or dL/du with the leak's carry."""


class Steps(NamedTuple):
    """What the backward pass knows about K >= 1 consecutive steps; tensors `[K, B, ...]`, or `[K, N]`."""

    first: int
    """The first of them, from 0; a sequence in parts may have more than T."""
    potential: Tensor
    """u, as the gate takes it (`Gate`)."""
    upstream: Tensor
    """dL/ds, over all paths."""
    carry: Tensor | None
    """The part of dL/du that does not depend on the window; None is 0."""
    delta: Tensor
    """upstream · f under the window in use."""
    passing: Tensor | None = None
    """How many of the watched gradients of each step are not 0 `[K]`; None: they were not counted."""

    @staticmethod
    def one(t: int, potential: Tensor, upstream: Tensor, carry: Tensor | None, delta: Tensor) -> Steps:
        """Step t alone, from tensors `[B, ...]`."""
        return Steps(t, potential[None], upstream[None], None if carry is None else carry[None], delta[None])

    @property
    def end(self) -> int:
        """The step after the last of them."""
        return self.first + len(self.potential)

    def each(self) -> Iterator[Steps]:
        """The steps one by one, the last first."""
        for k in reversed(range(len(self.potential))):
            parts = (None if part is None else part[k : k + 1] for part in self[1:])
            yield Steps(self.first + k, *parts)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Steps:
        """The same on a device."""
        return Steps(self.first, *(None if part is None else part.to(device) for part in self[1:]))  # type: ignore[arg-type]


Look = Callable[[Steps], None]
"""Called with all steps of one backward pass, one or several at a time, the last ones first."""


class Watcher(Protocol):
    """Watches the backward passes of one neuron."""

    @property
    def key(self) -> str:
        """The key by which a graph of `torch.compile` finds it; see `a2sg.kernels.traced`."""
        ...

    @property
    def gradient(self) -> Gradient:
        """Which local gradient it watches."""
        ...

    @property
    def current_gate(self) -> Gate:
        """The present thresholds and surrogate of the neuron."""
        ...

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """Start to watch one backward pass.

        Args:
            gate: thresholds and surrogate of the neuron.
            window: the windows in use of the first N steps `[N]`; no later step will be shown.
            fill: the backend's fastest way to compute sums at candidate windows.
        """
        ...
