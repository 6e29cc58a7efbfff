"""What a neuron does in one step, as plain data that every backend reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from a2sg.kernels.gate import Gate

Reset = Literal["soft", "hard"]
Order = Literal["field", "scaled"]


@dataclass(frozen=True)
class Dynamics:
    """Integration, firing and reset of one neuron (method: u[t], s[t], v[t]).

    Attributes:
        gate: thresholds and surrogate.
        threshold: what a soft reset subtracts per spike; None if it is a tensor, which `Drive` then holds.
        reset: `"soft"`: v = u - threshold · s; `"hard"`: v = u where it did not fire, else 0.
        detach_reset: whether the reset is left out of the gradient.
        order: `"field"`: u = decay · v + I; `"scaled"`: u = decay · (v + I).
    """

    gate: Gate
    threshold: float | None
    reset: Reset
    detach_reset: bool
    order: Order

    def __hash__(self) -> int:  # every call of a neuron looks up its kernels by it
        return self._hash

    def __getstate__(self) -> dict[str, object]:  # hashes of strings differ from process to process
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @cached_property
    def _hash(self) -> int:
        return hash((self.gate, self.threshold, self.reset, self.detach_reset, self.order))
