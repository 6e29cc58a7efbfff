"""Who looks on while a neuron's backward pass runs, and what is shown to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill

Gradient = Literal["spike", "full"]
"""Which local gradient is looked at: dL/ds · f, or dL/du with the leak's carry."""


class Steps(NamedTuple):
    """What the backward pass knows of K >= 1 consecutive steps; tensors `[K, B, ...]`, or `[K, N]`."""

    first: int
    """The first of them, from 0; a sequence in parts may have more than T."""
    potential: Tensor
    """u, as the gate takes it (`Gate`)."""
    upstream: Tensor
    """dL/ds, by all ways."""
    carry: Tensor | None
    """The part of dL/du that does not depend on the window; None is 0."""
    delta: Tensor
    """upstream · f under the window in use."""

    @staticmethod
    def one(t: int, potential: Tensor, upstream: Tensor, carry: Tensor | None, delta: Tensor) -> Steps:
        """Step t alone, of tensors `[B, ...]`."""
        return Steps(t, potential[None], upstream[None], None if carry is None else carry[None], delta[None])

    @property
    def end(self) -> int:
        """The step after the last of them."""
        return self.first + len(self.potential)

    def each(self) -> Iterator[Steps]:
        """One step after the other, the last one first."""
        for k in reversed(range(len(self.potential))):
            carry = None if self.carry is None else self.carry[k]
            yield Steps.one(self.first + k, self.potential[k], self.upstream[k], carry, self.delta[k])

    def to(self, device: torch.device) -> Steps:
        """The same on a device."""
        return Steps(self.first, *(None if part is None else part.to(device) for part in self[1:]))  # type: ignore[arg-type]


Look = Callable[[Steps], None]
"""Is shown all steps of one backward pass, one or several at a time, the last ones first."""


class Watcher(Protocol):
    """Looks on during backward passes of one neuron."""

    @property
    def key(self) -> str:
        """By which a graph of `torch.compile` finds it; see `a2sg.kernels.traced`."""
        ...

    @property
    def gradient(self) -> Gradient:
        """Which it looks at."""
        ...

    @property
    def current_gate(self) -> Gate:
        """Thresholds and surrogate of the neuron, as they are now."""
        ...

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """Begin to watch one backward pass.

        Args:
            gate: thresholds and surrogate of the neuron.
            window: the windows in use of the first N steps `[N]`; no later step will be shown.
            fill: the backend's fastest way to sums at candidate windows.
        """
        ...
