"""From the batches of a split to what a network takes: on its device, augmented, standardised."""

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
"""So many pixels of all channels and steps are prepared at once."""


class Batches(Sized, Iterable[Batch], Protocol):
    """A loader, or batches of a `ResidentBatches`."""

    @property
    def sampler(self) -> Any:
        """What their order comes from; its `epoch`, if it has one, is the present one."""
        ...


class Order(Sampler[Any]):
    """An order of samples that may begin later, once: where a run goes on in the middle of an epoch.

    Args:
        whole: gives the order of an epoch, `whole.epoch`.
        skip: samples that the first pass leaves out.
    """

    def __init__(self, whole: DistributedSampler[Any], skip: int = 0) -> None:
        self.whole = whole
        self.skip = skip

    @property
    def epoch(self) -> int:
        """The present one, from 0."""
        return self.whole.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch."""
        self.whole.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Any]:
        skip, self.skip = self.skip, 0
        return islice(iter(self.whole), skip, None)


@dataclass(kw_only=True)
class Feed:
    """Batches that a network takes. Those that lie on the device already are prepared several at once.

    What a batch is does not depend on how many are: see `a2sg.data.draws`.

    Args:
        batches: of pixels and labels.
        device: where the network is.
        standardize: last thing that is done to pixels.
        recordings: whether samples have a time of their own, `[B, T, C, H, W]`; it then comes first.
        changes: augmentation, if there is any.
        ahead: how many batches are prepared at once.
        during: makes the context in which that is done, such as a profiler's.
        done: batches of the epoch that the first pass leaves out, as `batches` do.
        shared: which part of each batch `batches` read, if ranks share them.
    """

    batch_sampler: ClassVar[None] = None  # Lightning asks for it where it finds a `sampler`

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
        """Where Lightning sets the epoch."""
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
        """Batches of the epoch from number `first` on, as the network takes them."""
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
        """Without what was read to be mixed in alone."""
        assert self.shared is not None
        own = len(self.shared.shares.rows(number))
        return images.narrow(-4, 0, own), labels[:own]


def joined(parts: tuple[Tensor, ...]) -> Tensor:
    """`[N, ...]` of batches `[B, ...]`."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
