"""Ranks share batches: every sample is one rank's, and comes to it as it would to a process alone."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler

from a2sg.data.augment import Augment
from a2sg.data.draws import Changes
from a2sg.data.feed import Feed, Order
from a2sg.data.resident import ResidentBatches
from a2sg.data.sets import ArrayImages, collate
from a2sg.data.shares import SharedBatches, Shares
from a2sg.data.standardize import Standardize

CPU = torch.device("cpu")
random = np.random.default_rng(0)
DATA = ArrayImages(random.integers(0, 256, (23, 3, 8, 8), dtype=np.uint8), np.arange(23) % 5)
AUGMENTS = {
    "none": None,
    "by sample": Augment(5, (0.1, 0.2, 0.3), crop_padding=2, flip=True, erasing=0.5, randaugment=1),
    "mixed": Augment(5, (0.1, 0.2, 0.3), crop_padding=2, erasing=0.5, cutmix=1.0, mixup=1.0),
}
RANKS = [2, 3, 5]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize(("samples", "batch_size"), [(23, 6), (24, 6), (3, 15), (1, 15)])
def test_every_sample_of_a_batch_is_one_ranks(samples, batch_size, ranks):
    every = [Shares(samples, batch_size, rank, ranks) for rank in range(ranks)]
    for number in range(len(every[0])):
        size = len(range(samples)[number * batch_size : (number + 1) * batch_size])
        assert [at for shares in every for at in shares.own(number)] == list(range(size))
        sizes = [len(shares.own(number)) for shares in every]
        assert max(sizes) - min(sizes) <= 1
        assert sum(shares.part(number) for shares in every) == pytest.approx(1)
        for shares in every:
            assert len(shares.rows(number)) > 0
            assert (shares.part(number) == 0) == (len(shares.own(number)) == 0)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
@pytest.mark.parametrize(("samples", "batch_size"), [(23, 6), (24, 6), (18, 6), (3, 15)])
def test_every_sample_of_a_step_weighs_the_same(samples, batch_size, accumulate):
    shares = Shares(samples, batch_size)
    for first in range(0, len(shares), accumulate):
        batches = range(first, min(first + accumulate, len(shares)))
        total = sum(shares.size(number) for number in batches)
        for number in batches:
            # A loss is the mean over its batch, and the trainer divides it by `accumulate`.
            each = shares.in_step(number, accumulate) / accumulate / shares.size(number)
            assert each == pytest.approx(1 / total)


def feeds(augment, ranks, loader, done=0):
    """What each of the ranks gets of an epoch."""
    changes = None if augment is None else Changes(augment, seed=3, size=(8, 8))
    for rank in range(ranks):
        whole = DistributedSampler(DATA, num_replicas=1, rank=0, seed=3)
        whole.set_epoch(2)
        order = Order(whole, 6 * done)
        shared = SharedBatches(order, Shares(23, 6, rank, ranks), changes, done) if ranks > 1 else None
        if loader:
            kind = {"batch_sampler": shared} if shared else {"batch_size": 6, "sampler": order}
            batches = DataLoader(DATA, collate_fn=collate, **kind)
        else:
            batches = ResidentBatches(DATA, shared or order, None if shared else 6, CPU)
        yield Feed(
            batches=batches,
            device=CPU,
            standardize=Standardize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
            changes=changes,
            ahead=1 if loader else 3,
            done=done,
            shared=shared,
        )


@pytest.mark.parametrize("loader", [False, True], ids=["resident", "loader"])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
@pytest.mark.parametrize("done", [0, 2])
def test_shares_are_those_of_one_process(augment, ranks, loader, done):
    (alone,) = feeds(augment, 1, loader, done)
    every = list(feeds(augment, ranks, loader, done))
    assert {len(feed) for feed in every} == {len(alone)}
    expected = list(alone)
    assert len(expected) == 4 - done
    for number, ((images, labels), *parts) in enumerate(zip(expected, *every, strict=True), done):
        shares = [Shares(23, 6, rank, ranks) for rank in range(ranks)]
        counted = [part for part, share in zip(parts, shares, strict=True) if share.part(number)]
        assert torch.equal(torch.cat([part for part, _ in counted]), images)
        assert torch.equal(torch.cat([part for _, part in counted]), labels)
        for (_, part), share in zip(parts, shares, strict=True):
            assert len(part) == len(share.rows(number))


def test_the_epoch_is_that_of_the_order():
    whole = DistributedSampler(DATA, num_replicas=1, rank=0, seed=3)
    shared = SharedBatches(whole, Shares(23, 6, 1, 2), None)
    shared.set_epoch(3)
    assert shared.epoch == whole.epoch == 3
    first = list(shared)
    assert first == list(shared)
    whole.set_epoch(4)
    assert first != list(shared)
    in_order = SharedBatches(SequentialSampler(DATA), Shares(23, 6, 1, 2), None)
    in_order.set_epoch(5)
    assert next(iter(in_order)) == [3, 4, 5]
