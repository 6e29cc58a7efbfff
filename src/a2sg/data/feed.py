"""Prepares the batches of a split for a network: on its device, augmented, standardised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from a2sg.data.draws import Changes, Draws
from a2sg.data.shares import SharedBatches
from a2sg.data.standardize import Standardize, to_unit

Batch = tuple[Tensor, Tensor]

AHEAD = 2**23
"""Number of pixels, over all channels and steps, that are prepared at once."""


class Batches(Sized, Iterable[Batch], Protocol):
    """A loader, or batches of a `ResidentBatches`."""

    @property
    def sampler(self) -> Any:
        """The source of their order; its `epoch`, if it has one, is the present one."""
        ...


class Order(Sampler[Any]):
    """An order of samples whose first pass may start later: to resume a run in the middle of an epoch.

    Args:
        whole: gives the order of an epoch, `whole.epoch`.
        skip: number of samples that the first pass skips.
    """

    def __init__(self, whole: DistributedSampler[Any], skip: int = 0) -> None:
        self.whole = whole
        self.skip = skip

    @property
    def epoch(self) -> int:
        """The present one, from 0."""
        return self.whole.epoch

    def set_epoch(self, epoch: int) -> None:
        """Move on to another epoch."""
        self.whole.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Any]:
        skip, self.skip = self.skip, 0
        return islice(iter(self.whole), skip, None)


@dataclass(kw_only=True)
class Feed:
    """Batches ready for a network. Those already on the device are prepared several at once.

    The content of a batch does not depend on how many are prepared at once: see `a2sg.data.draws`.

    Args:
        batches: of pixels and labels.
        device: of the network.
        standardize: applied to pixels last.
        recordings: whether samples have their own time, `[B, T, C, H, W]`; it is then moved to the front.
        changes: augmentation, if any.
        ahead: how many batches are prepared at once.
        during: makes the context for that work, such as a profiler's.
        done: batches of the epoch that the first pass skips, as `batches` does.
        shared: which part of each batch `batches` reads, if ranks share them.
    """

    batch_sampler: ClassVar[None] = None  # Lightning reads it if there is a `sampler`

    batches: Batches
    device: torch.device
    standardize: Standardize
    recordings: bool = False
    changes: Changes | None = None
    ahead: int = 1
    during: Callable[[], AbstractContextManager[Any]] = nullcontext
    done: int = 0
    shared: SharedBatches | None = None

    @property
    def sampler(self) -> Any:
        """The object on which Lightning sets the epoch."""
        return self.batches.sampler if self.shared is None else self.shared

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        batches, first, self.done = iter(self.batches), self.done, 0
        while several := list(islice(batches, self.ahead)):
            with self.during(), torch.no_grad():
                prepared = self.prepare(several, first)
            yield from prepared
            first += len(several)

    def prepare(self, batches: list[Batch], first: int = 0) -> list[Batch]:
        """Batches of the epoch from number `first` on, ready for the network."""
        sizes = [len(labels) for _, labels in batches]
        images, labels = (
            joined(parts).to(self.device, non_blocking=True) for parts in zip(*batches, strict=True)
        )
        images = to_unit(images)
        if self.recordings:
            images = images.transpose(0, 1)
        if self.changes is not None:
            images, labels = self.changes.augment(images, labels, self._draws(sizes, first))
        images = self.standardize(images)
        parts = zip(images.split(sizes, -4), labels.split(sizes), strict=True)
        return (
            list(parts)
            if self.shared is None
            else [self._own(*part, n) for n, part in enumerate(parts, first)]
        )

    def _draws(self, sizes: list[int], first: int) -> Draws:
        assert self.changes is not None
        epoch, shares = self.sampler.epoch, None if self.shared is None else self.shared.shares
        drawn = [
            self.changes.drawn(epoch, number, size)
            if shares is None
            else self.changes.drawn(epoch, number, shares.size(number), shares.rows(number))
            for number, size in enumerate(sizes, first)
        ]
        return Draws([numbers for numbers, _ in drawn], self.device)

    def _own(self, images: Tensor, labels: Tensor, number: int) -> Batch:
        """Without the samples that were read only to be mixed in."""
        assert self.shared is not None
        own = len(self.shared.shares.rows(number))
        return images.narrow(-4, 0, own), labels[:own]


def joined(parts: tuple[Tensor, ...]) -> Tensor:
    """`[N, ...]` of batches `[B, ...]`."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
