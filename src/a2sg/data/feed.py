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

from a2sg.data.draws import Augmentation, Draws, generator
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


@dataclass(frozen=True)
class Changes:
    """The augmentation of a run, as one of its processes does it.

    Args:
        augment: what is done.
        seed: of the run.
        rank: of the process.
    """

    augment: Augmentation
    seed: int
    rank: int = 0


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

    @property
    def sampler(self) -> Any:
        """Where Lightning sets the epoch."""
        return self.batches.sampler

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
            images, labels = self.changes.augment(images, labels, self._draws(sizes, images, first))
        images = self.standardize(images)
        return list(zip(images.split(sizes, -4), labels.split(sizes), strict=True))

    def _draws(self, sizes: list[int], images: Tensor, first: int) -> Draws:
        assert self.changes is not None
        seed, epoch, rank = self.changes.seed, self.sampler.epoch, self.changes.rank
        drawn = [
            self.changes.augment.draw(
                generator(seed, epoch, number, rank), size, (images.shape[-2], images.shape[-1]), epoch
            )
            for number, size in enumerate(sizes, first)
        ]
        return Draws(drawn, self.device)


def joined(parts: tuple[Tensor, ...]) -> Tensor:
    """`[N, ...]` of batches `[B, ...]`."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
