"""How much a measurement depends on the samples it was taken on, and on how many there were."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from a2sg.errors import require, require_count
from a2sg.progress import progress
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.result import Result


@dataclass(frozen=True)
class BatchSpread(Result):
    """A number measured on several batches of one size.

    Attributes:
        size: samples per batch.
        values: one per batch.
        mean: of the values.
        deviation: their standard deviation (over one less than there are).
    """

    size: int
    values: list[float]
    mean: float
    deviation: float


def over_batches(
    measure: Callable[[Objective], float],
    objective: Objective,
    sizes: Sequence[int],
    repeats: int = 5,
    seed: int = 0,
    show_progress: bool | None = None,
) -> list[BatchSpread]:
    """Measure on random batches of several sizes.

        over_batches(lambda batch: empirical_fisher(batch).whole.top[0], objective, sizes=(16, 64))

    Batches of one size are drawn independently of each other, each without repetition: where they are a
    large part of all samples they overlap, and the deviation is too small. For the spread over training
    seeds, call it for the network of each.

    Args:
        measure: gives the number.
        objective: holds all samples to draw from.
        sizes: samples per batch.
        repeats: batches of each size, at least 2.
        seed: of the draws.
        show_progress: None shows a bar on a terminal.

    Returns:
        One per size, in their order.

    Raises:
        InputError: for a size or number of repeats that cannot be.
    """
    require_count("repeats", repeats, least=2)
    for size in sizes:
        require_count("size", size)
        require(size <= len(objective), f"a batch of {size} cannot be drawn from {len(objective)} samples")
    generator = torch.Generator().manual_seed(seed)
    draws = [
        (size, torch.randperm(len(objective), generator=generator)[:size])
        for size in sizes
        for _ in range(repeats)
    ]
    values = [
        measure(objective.subset(index)) for _, index in progress(draws, "batches", len(draws), show_progress)
    ]
    return [_spread(size, values[at * repeats : (at + 1) * repeats]) for at, size in enumerate(sizes)]


def _spread(size: int, values: list[float]) -> BatchSpread:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return BatchSpread(size, values, mean, math.sqrt(variance))
