"""`Gate`, where potentials turn into spikes: the thresholds, and the surrogate for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from a2sg.surrogate import Surrogate


@dataclass(frozen=True)
class Gate:
    """s = number of thresholds that u has reached; ds/du = Σ_k f(u - threshold_k; window).

    One threshold gives the usual spike; D of them give the integer neuron's levels 0 .. D. If the neuron's
    threshold is a tensor, u is measured from it, and the gate's own threshold is 0.
    """

    surrogate: Surrogate
    thresholds: tuple[float, ...]

    @property
    def heights(self) -> tuple[float, ...]:
        """By how much the spikes rise at each threshold."""
        return (1.0,) * len(self.thresholds)

    def fire(self, potential: Tensor) -> Tensor:
        """Spikes (or levels) in the dtype and shape of `potential`."""
        level = (potential >= self.thresholds[0]).to(potential.dtype)
        for threshold in self.thresholds[1:]:
            level = level + (potential >= threshold).to(potential.dtype)
        return level

    def derivative(self, potential: Tensor, window: Tensor | float) -> Tensor:
        """ds/du at `potential`; `window` broadcasts against it."""
        total = self.surrogate.derivative(potential - self.thresholds[0], window)
        for threshold in self.thresholds[1:]:
            total = total + self.surrogate.derivative(potential - threshold, window, lower_edge=False)
        return total

    def primitive(self, potential: Tensor, window: Tensor | float) -> Tensor:
        """The smooth spike Σ_k F(u - threshold_k; window), of which `derivative` is the true derivative."""
        total = self.surrogate.primitive(potential - self.thresholds[0], window)
        for threshold in self.thresholds[1:]:
            total = total + self.surrogate.primitive(potential - threshold, window)
        return total
