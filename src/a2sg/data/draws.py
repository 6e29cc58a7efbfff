"""The random numbers of augmentation, for every sample, drawn separately from their use.

A batch's numbers depend only on seed, epoch and its place in the epoch. So several batches may be augmented
at once, with few calls for all of them, and give the same result as one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Drawn = dict[str, np.ndarray]
"""Numbers of a batch by name, `[B]` each: bool, whole numbers below 2^24, or floating point."""

PARTNER = "partner"
"""The only number that refers to another sample of the batch: the offset of the one to mix in."""


class Augmentation(Protocol):
    """Changes training samples at random: first numbers are drawn, then they are applied."""

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch.

        Args:
            random: the only source of random numbers.
            batch: samples.
            size: height and width of the images.
            epoch: how many epochs are done.
        """
        ...

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws, /) -> tuple[Tensor, Tensor]:
        """Augmented images and labels, each sample by its own numbers.

        Args:
            images: `[B, C, H, W]`, or recordings `[T, B, C, H, W]`; floating point.
            labels: `[B]`, or masks `[B, H, W]`.
            draws: of these samples.
        """
        ...


class Draws:
    """The numbers of one or several batches by name, `[N]` each, on the device of the samples.

    Args:
        batches: the numbers drawn for each, all with the same names; at least one.
        device: of the samples. All numbers are copied there in one call, without waiting for it.
    """

    def __init__(self, batches: Sequence[Drawn], device: torch.device) -> None:
        self.host: Mapping[str, np.ndarray] = {
            name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
        }
        """The same numbers on the host, to be read without waiting for the device."""
        self._there: dict[str, Tensor] = {}
        if self.host:
            rows = np.stack([numbers.astype(np.float32) for numbers in self.host.values()])
            self._there = dict(zip(self.host, sent(torch.from_numpy(rows), device), strict=True))

    def __contains__(self, name: str) -> bool:
        return name in self.host

    def __getitem__(self, name: str) -> Tensor:
        """`[N]`, bool, int64 or float32 as it was drawn."""
        numbers = self._there[name]
        kind = self.host[name].dtype.kind
        return numbers if kind == "f" else numbers.bool() if kind == "b" else numbers.long()


@dataclass(frozen=True)
class Changes:
    """The augmentation of a run.

    Args:
        augment: the augmentation to apply.
        seed: of the run.
        size: height and width of the images.
    """

    augment: Augmentation
    seed: int
    size: tuple[int, int]

    def drawn(
        self, epoch: int, batch: int, samples: int, rows: range | None = None
    ) -> tuple[Drawn, np.ndarray]:
        """The numbers of a batch, or of some of its rows: the same ones as in the whole batch.

        Args:
            epoch: how many epochs are done.
            batch: its number in the epoch, from 0.
            samples: of the whole batch.
            rows: whose numbers to return; None is all.

        Returns:
            The numbers, and the positions of their samples in the batch. The requested rows may be followed
            by others, which are mixed into them.
        """
        drawn = self.augment.draw(generator(self.seed, epoch, batch), samples, self.size, epoch)
        read = np.arange(samples)
        if rows is None or len(rows) == samples:
            return drawn, read
        read = read[rows.start : rows.stop]
        mixed = PARTNER in drawn
        if mixed:
            read = np.concatenate([read, read + drawn[PARTNER][read]])
        part = {name: numbers[read] for name, numbers in drawn.items()}
        if mixed:
            part[PARTNER] = np.repeat([len(rows), 0], len(rows))
        return part, read


def generator(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """The random numbers of a batch, from 0, of an epoch."""
    return np.random.default_rng((seed, epoch, batch, 0))


def sent(host: Tensor, device: torch.device) -> Tensor:
    """A copy of a host tensor on a device, without waiting for a GPU."""
    if device.type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def by_sample(numbers: Tensor) -> Tensor:
    """`[N]` as `[N, 1, 1, 1]`, to broadcast against images."""
    return numbers[:, None, None, None]
