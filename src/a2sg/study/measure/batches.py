"""How much a measurement depends on the samples it was taken on, and on how many there were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from a2sg.errors import require, require_count
from a2sg.progress import progress
from a2sg.statistics import deviation, mean
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
    *,
    repeats: int = 5,
    seed: int = 0,
    show_progress: bool | None = None,
) -> list[BatchSpread]:
    """Measure on random batches of several sizes.

    Batches of one size are drawn independently of each other, each without repetition. If they are a large
    part of all samples, they overlap, and the deviation is too small. To see the spread over training seeds,
    call this for each network.

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
        InputError: for a size or number of repeats that is out of range.
    """
    require_count("repeats", repeats, least=2)
    for size in sizes:
        require_count("size", size)
        require(size <= len(objective), f"a batch of {size} cannot be drawn from {len(objective)} samples")
    generator = torch.Generator().manual_seed(seed)
    every = [size for size in sizes for _ in range(repeats)]
    values = []
    for size in progress(every, "batches", len(every), show_progress):
        index = torch.randperm(len(objective), generator=generator)[:size]
        values.append(measure(objective.subset(index)))
    parts = [values[at : at + repeats] for at in range(0, len(values), repeats)]
    return [
        BatchSpread(size, part, mean(part), deviation(part) or 0.0)
        for size, part in zip(sizes, parts, strict=True)
    ]
