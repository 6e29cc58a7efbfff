"""How the ranks of a distributed run share the batches of an epoch: each takes a part of every one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data import Sampler

from a2sg.data.draws import Changes


@dataclass(frozen=True)
class Shares:
    """Which samples of each batch are one rank's: a contiguous part; sizes differ by one at most.

    Args:
        samples: of an epoch.
        batch_size: samples of a batch of all ranks together; the last one has what is left.
        rank: this one, from 0.
        ranks: how many there are.
    """

    samples: int
    batch_size: int
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-self.samples // self.batch_size)

    def size(self, batch: int) -> int:
        """Samples of a batch, by its number in the epoch."""
        return min(self.batch_size, self.samples - batch * self.batch_size)

    def own(self, batch: int) -> range:
        """The places of this rank's samples in a batch; there may be none."""
        each, rest = divmod(self.size(batch), self.ranks)
        start = self.rank * each + min(self.rank, rest)
        return range(start, start + each + (self.rank < rest))

    def rows(self, batch: int) -> range:
        """The places of the samples that this rank computes with.

        One that has none takes all of them, so that it takes part in what ranks do together; they do not
        count for it, since their `part` is 0.
        """
        return self.own(batch) or range(self.size(batch))

    def part(self, batch: int) -> float:
        """The share of a batch that is this rank's, from 0 to 1: what its mean counts for in the batch's."""
        return len(self.own(batch)) / self.size(batch)


class SharedBatches(Sampler[list[Any]]):
    """The samples that one rank reads, batch by batch.

    Args:
        order: gives all samples of an epoch; its `epoch`, if it has one, is the present one.
        shares: which of them are this rank's.
        changes: augmentation, if there is any: an image may be mixed with one that is another rank's.
        done: batches that the first pass leaves out, as `order` does.
    """

    def __init__(self, order: Sampler[Any], shares: Shares, changes: Changes | None, done: int = 0) -> None:
        self.order = order
        self.shares = shares
        self.changes = changes
        self.done = done

    @property
    def epoch(self) -> int:
        """The present one, from 0."""
        epoch: int = getattr(self.order, "epoch", 0)
        return epoch

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch."""
        if hasattr(self.order, "set_epoch"):
            self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[list[Any]]:
        first, self.done = self.done, 0
        samples = iter(self.order)
        for number in range(first, len(self.shares)):
            batch = list(islice(samples, self.shares.size(number)))
            rows = self.shares.rows(number)
            if self.changes is None:
                yield batch[rows.start : rows.stop]
            else:
                _, read = self.changes.drawn(self.epoch, number, len(batch), rows)
                yield [batch[at] for at in read]
