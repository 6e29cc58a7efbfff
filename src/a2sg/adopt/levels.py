"""At which potentials a spike function steps from one level to the next, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2sg.errors import require

FARTHEST = 2.0**15
"""Thresholds are looked for between this and its negative: what every dtype holds."""
MOST = 64
"""Levels that a neuron may have; what has more is a quantiser."""
AROUND = 513
"""Potentials at which a function is tried once more, for one that draws its spikes."""
NEAR = 1e-6
"""Relative distance to a threshold at which a comparison may go either way, if rounding is not wider."""


@dataclass(frozen=True)
class Levels:
    """A function of the potential that is 0 at first and flat but for steps upwards.

    Attributes:
        thresholds: where it steps, ascending. Whether a potential right there fires is left open.
        heights: by how much; 1 for a spike.
    """

    thresholds: tuple[float, ...]
    heights: tuple[float, ...]

    def __str__(self) -> str:
        where = ", ".join(f"{threshold:g}" for threshold in self.thresholds)
        steps = sorted(set(self.heights))
        return where if steps == [1.0] else f"{where} (by {', '.join(f'{step:g}' for step in steps)})"

    def near(self, other: Levels) -> bool:
        """Whether two are the same but for rounding."""
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
    """Why nothing is known of where a function fires."""


def find_levels(function: Callable[[Tensor], Tensor], like: Tensor) -> Levels | str:
    """The levels of an elementwise function that never falls.

    Args:
        function: of potentials, in float32.
        like: a potential that it is called with: its device and number of dimensions are used.

    Returns:
        The levels; or why there are none, as the rest of a sentence about the function. It is empty for what
        does not step at all, or without end: another kind of function.
    """
    devices = [like.device.index] if like.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            return _bisect(function, like)
    except Exception as error:  # whatever it does with potentials that it was not made for
        kind = type(error).__name__
        return Unclear(f"cannot be tried on single potentials ({kind}): does a tensor say where it fires?")


def _bisect(function: Callable[[Tensor], Tensor], like: Tensor) -> Levels | str:
    def fired(potentials: Tensor) -> Tensor:
        with torch.no_grad():
            shaped = potentials.to(like.device).view(-1, *[1] * max(0, like.dim() - 1))
            levels = function(shaped)
        require(levels.shape == shaped.shape, "it has as many values as potentials")
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


NOT_ALONE = Unclear("does not fire by its potential alone")
LEAST = int(np.iinfo(np.int32).min)


def _places(numbers: np.ndarray) -> np.ndarray:
    """Where numbers are among all of float32: whole, and in their order."""
    bits = numbers.view(np.int32).astype(np.int64)
    return np.where(bits < 0, LEAST - bits, bits)


def _numbers(places: np.ndarray) -> np.ndarray:
    """The numbers at these places."""
    return np.where(places < 0, LEAST - places, places).astype(np.int32).view(np.float32)


def _rounder(*neighbours: np.float32) -> float:
    """The one that is written shorter: a threshold as a person writes it."""
    return float(min(map(str, neighbours), key=len))
