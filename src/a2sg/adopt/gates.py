"""Gates of other libraries' neurons: where their potentials turn into spikes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from a2sg.adopt.levels import Levels
from a2sg.errors import require
from a2sg.kernels.gate import Gate
from a2sg.surrogate import Surrogate


@dataclass(frozen=True)
class Distance(Gate):
    """One threshold, for input that is already the distance to it."""

    thresholds: tuple[float, ...] = (0.0,)

    def derivative(self, potential: Tensor, window: Tensor | float) -> Tensor:
        return self.surrogate.derivative(potential, window)


def gate_of(surrogate: Surrogate, levels: Levels) -> tuple[Gate, float]:
    """The gate of a function that fires at `levels`, and what to subtract from its potential first."""
    if levels.heights == (1.0,):
        return Distance(surrogate), levels.thresholds[0]
    if set(levels.heights) == {1.0}:
        return Gate(surrogate, levels.thresholds), 0.0
    return Stairs(surrogate, levels.thresholds, levels.heights), 0.0


@dataclass(frozen=True)
class Stairs(Gate):
    """Thresholds with different heights: ds/du = Σ_k h_k f(u - threshold_k; window).

    Like `Gate`, where every height is 1.
    """

    heights: tuple[float, ...] = ()

    def derivative(self, potential: Tensor, window: Tensor | float) -> Tensor:
        total = potential.new_zeros(())
        for at, (threshold, height) in enumerate(zip(self.thresholds, self.heights, strict=True)):
            f = self.surrogate.derivative(potential - threshold, window, lower_edge=at == 0)
            total = total + height * f
        return total


@dataclass(frozen=True)
class Multiples(Gate):
    """A spike for each whole multiple of a threshold that u has reached: Σ_k f(u - k·threshold), k = 1, 2, …

    Like `Gate` with thresholds at all multiples, but only those whose windows reach u cost anything. (A
    window as wide as the threshold reaches up to the next multiple, but does not include it.)

    Args:
        surrogate: of a bounded shape.
        threshold: above 0; a number, or a tensor that broadcasts against the potential.
        most: the largest number of spikes; None for no limit.

    Raises:
        InputError: for an unbounded shape, whose sum would be infinite.
    """

    thresholds: tuple[float, ...] = ()
    threshold: Tensor | float = 1.0
    most: int | None = None

    def __post_init__(self) -> None:
        require(
            self.surrogate.bounded,
            "a neuron that fires several spikes in a step needs a bounded surrogate such as Asymmetric(), "
            f"not {self.surrogate}",
        )

    def derivative(self, potential: Tensor, window: Tensor | float) -> Tensor:
        threshold = torch.as_tensor(self.threshold, dtype=potential.dtype, device=potential.device)
        window = torch.as_tensor(window, dtype=potential.dtype, device=potential.device)
        reach = max(1, math.ceil((window.max() / threshold.min()).item()))
        reached = (potential / threshold).floor()
        last = math.inf if self.most is None else self.most
        total = potential.new_zeros(())
        for offset in range(1 - reach, 1 + reach):
            level = reached + offset
            value = self.surrogate.derivative(potential - level * threshold, window, lower_edge=level == 1)
            there = (level >= 1) & (level <= last)
            total = total + torch.where(there, value, 0.0)
        return total

    @property
    def reach(self) -> float:
        """The widest window for which only the two nearest multiples matter."""
        return self.threshold if isinstance(self.threshold, float) and self.most is None else 0.0

    def nearest(self, potential: Tensor) -> tuple[Tensor, Tensor]:
        """The distances to the last multiple reached (or the first one), and to the one after it."""
        level = (potential / self.threshold).floor_().clamp_(min=1)
        reached = potential - level * self.threshold
        return reached, reached - self.threshold
