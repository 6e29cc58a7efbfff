"""What augmentation draws: numbers for every sample, apart from what is done with them.

A batch's numbers depend on seed, epoch and its place in the epoch alone. So several batches may be changed
at once, with few calls for all of them, and come out as they would one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Drawn = dict[str, np.ndarray]
"""Numbers of a batch by name, `[B]` each: bool, whole numbers below 2^24, or floating point."""


class Augmentation(Protocol):
    """Changes training samples at random: first numbers are drawn, then they are applied."""

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch.

        Args:
            random: what they are drawn from, and nothing else is.
            batch: samples.
            size: height and width of the images.
            epoch: how many epochs are done.
        """
        ...

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws, /) -> tuple[Tensor, Tensor]:
        """Augmented images and labels, those of every sample by its own numbers.

        Args:
            images: `[B, C, H, W]`, or recordings `[T, B, C, H, W]`; floating point.
            labels: `[B]`, or masks `[B, H, W]`.
            draws: of the very same samples.
        """
        ...


class Draws:
    """The numbers of one or several batches by name, `[N]` each, on the device of the samples.

    Args:
        batches: what was drawn for each, all with the same names; at least one.
        device: where the samples are. All numbers go there in one copy, which is not waited for.
    """

    def __init__(self, batches: Sequence[Drawn], device: torch.device) -> None:
        self.host: Mapping[str, np.ndarray] = {
            name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
        }
        """The same numbers for whoever must know them without asking the device."""
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


def generator(seed: int, epoch: int, batch: int, rank: int = 0) -> np.random.Generator:
    """The random numbers of a batch of one rank, from 0."""
    return np.random.default_rng((seed, epoch, batch, rank))


def sent(host: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of the host on a device; a GPU is not waited for."""
    if device.type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def by_sample(numbers: Tensor) -> Tensor:
    """`[N]` as `[N, 1, 1, 1]`, to go with images."""
    return numbers[:, None, None, None]
