"""How the ranks of a distributed run share batches: each rank takes a part of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data import Sampler

from a2sg.data.draws import Changes


@dataclass(frozen=True)
class Shares:
    """Which samples of each batch belong to a rank: a contiguous part; sizes differ by one at most.

    Args:
        samples: number of samples in an epoch.
        batch_size: samples per batch, over all ranks; the last batch has the rest.
        rank: number of this rank, from 0.
        ranks: how many ranks there are.
    """

    samples: int
    batch_size: int
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        """Number of batches."""
        return -(-self.samples // self.batch_size)

    def size(self, batch: int) -> int:
        """Number of samples in a batch, given its number in the epoch."""
        return min(self.batch_size, self.samples - batch * self.batch_size)

    def own(self, batch: int) -> range:
        """Positions of this rank's samples in a batch; there may be none."""
        each, rest = divmod(self.size(batch), self.ranks)
        start = self.rank * each + min(self.rank, rest)
        return range(start, start + each + (self.rank < rest))

    def rows(self, batch: int) -> range:
        """Positions of the samples that this rank computes with.

        A rank without samples of its own takes all of them, so that it joins the collective operations; they
        do not count, since its `part` is 0.
        """
        return self.own(batch) or range(self.size(batch))

    def part(self, batch: int) -> float:
        """This rank's share of a batch, from 0 to 1: the weight of its mean in the batch's mean."""
        return len(self.own(batch)) / self.size(batch)

    def in_step(self, batch: int, accumulate: int) -> float:
        """The weight of a batch in the mean over the samples of its optimizer step; 1 if all are alike.

        Args:
            batch: its number in the epoch.
            accumulate: batches per step; the last step of an epoch may have fewer.
        """
        first = batch - batch % accumulate
        sizes = [self.size(number) for number in range(first, min(first + accumulate, len(self)))]
        return accumulate * self.size(batch) / sum(sizes)


class SharedBatches(Sampler[list[Any]]):
    """The samples that one rank reads, batch by batch.

    Args:
        order: yields all samples of an epoch; its `epoch`, if it has one, is the current epoch.
        shares: which samples belong to this rank.
        changes: augmentation, if any: an image may be mixed with one of another rank.
        done: batches to skip in the first pass, as `order` does.
    """

    def __init__(self, order: Sampler[Any], shares: Shares, changes: Changes | None, done: int = 0) -> None:
        self.order = order
        self.shares = shares
        self.changes = changes
        self.done = done

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        epoch: int = getattr(self.order, "epoch", 0)
        return epoch

    def set_epoch(self, epoch: int) -> None:
        """Switch to another epoch."""
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
