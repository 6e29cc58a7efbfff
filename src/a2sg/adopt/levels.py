"""At which potentials a spike function steps from one level to the next, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FARTHEST = 2.0**15
"""Thresholds are searched between this and its negative, which every dtype can hold."""
MOST = 64
"""Maximum number of levels of a neuron; a function with more is a quantiser."""
AROUND = 513
"""Potentials at which a function is called twice, to find one whose spikes are random."""
NEAR = 1e-6
"""Relative distance to a threshold within which a comparison may go either way; rounding may widen it."""


@dataclass(frozen=True)
class Levels:
    """A function of the potential that starts at 0 and is flat except for steps upwards.

    Attributes:
        thresholds: where it steps, ascending. Whether a potential exactly there fires is left open.
        heights: the size of each step; 1 for a spike.
    """

    thresholds: tuple[float, ...]
    heights: tuple[float, ...]

    def __str__(self) -> str:
        where = ", ".join(f"{threshold:g}" for threshold in self.thresholds)
        steps = sorted(set(self.heights))
        return where if steps == [1.0] else f"{where} (by {', '.join(f'{step:g}' for step in steps)})"

    def near(self, other: Levels) -> bool:
        """Whether two are equal up to rounding."""
        mine, theirs = ((*levels.thresholds, *levels.heights) for levels in (self, other))
        return len(mine) == len(theirs) and bool(np.allclose(mine, theirs, rtol=1e-4, atol=1e-4))

    def explain(self, potential: Tensor, spikes: Tensor) -> bool:
        """Whether these spikes are the levels of these potentials."""
        u, near = potential.detach().double(), max(NEAR, torch.finfo(potential.dtype).eps)
        value, open_ = torch.zeros_like(u), torch.zeros_like(u, dtype=torch.bool)
        for threshold, height in zip(self.thresholds, self.heights, strict=True):
            value += height * (u >= threshold)
            open_ |= (u - threshold).abs() <= near * max(1.0, abs(threshold))
        return bool((open_ | torch.isclose(value, spikes.detach().double(), rtol=NEAR)).all())


class Unclear(str):
    """Why it is unknown where a function fires."""


def find_levels(function: Callable[[Tensor], Tensor], like: Tensor) -> Levels | str:
    """The levels of an elementwise function that never decreases.

    Args:
        function: of potentials, in float32.
        like: an example of a potential: its device and number of dimensions are used.

    Returns:
        The levels; or why there are none, as the rest of a sentence about the function. The reason is empty
        for a function without steps, or with endlessly many: another kind of function.
    """
    devices = [like.device.index] if like.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            return _bisect(function, like)
    except Exception as error:  # it may do anything with unexpected potentials
        kind = type(error).__name__
        return Unclear(f"cannot be tried on single potentials ({kind}): does a tensor decide where it fires?")


def _bisect(function: Callable[[Tensor], Tensor], like: Tensor) -> Levels | str:
    def fired(potentials: Tensor) -> Tensor:
        with torch.no_grad():
            shaped = potentials.to(like.device).view(-1, *[1] * max(0, like.dim() - 1))
            levels = function(shaped)
        if levels.shape != shaped.shape:
            raise ValueError  # as any other error: `find_levels` shows its kind
        return levels.flatten().double().cpu()

    def values(places: np.ndarray) -> np.ndarray:
        return fired(torch.from_numpy(_numbers(places))).numpy()

    low, high = (_places(np.array([side], dtype=np.float32)) for side in (-FARTHEST, FARTHEST))
    below, above = values(low), values(high)
    while len(low) and (high - low > 1).any():
        middle = (low + high) // 2
        between = values(middle)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        below, above = np.concatenate([below, between]), np.concatenate([between, above])
        stepping = below != above
        low, high, below, above = low[stepping], high[stepping], below[stepping], above[stepping]
        if len(low) > MOST:
            return ""
    if not len(low) or not np.isfinite([below, above]).all():
        return ""
    order = np.argsort(low)
    low, high, below, above = low[order], high[order], below[order], above[order]
    if (above < below).any():
        return "falls as the potential rises"
    if below[0] != 0:
        return f"has the levels {', '.join(f'{level:g}' for level in (*below, above[-1]))}, not 0 and above"
    edges = zip(_numbers(low), _numbers(high), strict=True)
    levels = Levels(tuple(_rounder(*edge) for edge in edges), tuple((above - below).tolist()))
    around = torch.linspace(levels.thresholds[0] - 2, levels.thresholds[-1] + 2, AROUND)
    return levels if levels.explain(around, fired(around)) else NOT_ALONE


NOT_ALONE = Unclear("depends on more than its potential")
LEAST = int(np.iinfo(np.int32).min)


def _places(numbers: np.ndarray) -> np.ndarray:
    """The position of numbers among all float32 numbers, as integers in the same order."""
    bits = numbers.view(np.int32).astype(np.int64)
    return np.where(bits < 0, LEAST - bits, bits)


def _numbers(places: np.ndarray) -> np.ndarray:
    """The float32 numbers at these positions."""
    return np.where(places < 0, LEAST - places, places).astype(np.int32).view(np.float32)


def _rounder(*neighbours: np.float32) -> float:
    """The number with the shorter decimal form: a threshold as a person would write it."""
    return float(min(map(str, neighbours), key=len))
