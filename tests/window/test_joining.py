"""Ranks with unequal shares of a batch find the windows that one process finds with all of it."""

import pytest
import torch
from torch import nn

from a2sg import AdaptiveWindows, mean_over_steps
from a2sg.errors import InputError
from networks import NOW, Net, Plan, batch
from ranks import needs_distributed, run_ranks

pytestmark = needs_distributed

SIZE = 8
SHARES = {
    "unequal": [[0, 1, 2, 3, 4], [5, 6, 7]],
    "one each and seven": [[0], [1, 2, 3, 4, 5, 6, 7]],
    "a rank without samples": [list(range(SIZE)), []],
}
MICRO = [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]
"""Samples by rank and micro-batch: the joined ones are the first and the second half of the batch."""
JOINED = [[4, 3, 2, 1], [2, 2]]
"""Samples of every iteration by rank; the second one runs out of them."""


def started(wrap=None):
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW)
    return net, windows, nn.parallel.DistributedDataParallel(net) if wrap else net


def mean_loss(run, samples, seed):
    x, y = batch(4, size=SIZE, seed=seed)
    return nn.functional.cross_entropy(run(x[:, samples]), y[samples])


def with_shares(shares, rank):
    """The history of three observed iterations, without DDP, which all ranks must call."""
    net, windows, _ = started()
    for seed in range(3):
        if shares[rank]:
            mean_loss(net, shares[rank], seed).backward()
        windows.step()
    return windows.history


LENGTHS = torch.tensor([1, 1, 1, 2, 4, 4, 4, 4])
"""Of padded sequences: those of the first rank are the short ones."""


def with_lengths(samples):
    """The history of three observed iterations on padded sequences; the loss is the mean over samples."""
    net, windows, _ = started()
    windows.lengths = LENGTHS[samples]
    for seed in range(3):
        x, y = batch(4, size=SIZE, seed=seed)
        x = x[:, samples]
        for layer, neuron in enumerate(net.neurons):
            x = neuron(net.current(layer, x))
        logits = mean_over_steps(net.out(x.flatten(2)), windows.lengths)
        nn.functional.cross_entropy(logits, y[samples]).backward()
        windows.step()
    return windows.history


def accumulated(micro, wrap=None):
    """That of two iterations of two micro-batches each, of which the last one alone is synchronised."""
    _, windows, run = started(wrap)
    for seed in range(2):
        if wrap:
            with run.no_sync():
                mean_loss(run, micro[0], seed).backward()
        else:
            mean_loss(run, micro[0], seed).backward()
        mean_loss(run, micro[1], seed).backward()
        windows.step()
    return windows.history


def joined(rank):
    """That of as many iterations as there are on any rank."""
    from torch.distributed.algorithms.join import Join

    _, windows, run = started(wrap=True)
    with Join([run, windows]):
        for seed, size in enumerate(JOINED[rank]):
            mean_loss(
                run, list(range(SIZE))[:size] if rank == 0 else list(range(SIZE))[-size:], seed
            ).backward()
            windows.step()
    return windows.history


def work(rank):
    return {
        **{name: with_shares(shares, rank) for name, shares in SHARES.items()},
        "no_sync": accumulated(MICRO[rank], wrap=True),
        "join": joined(rank),
        "lengths": with_lengths(SHARES["unequal"][rank]),
    }


def alone():
    """What one process finds with the joined batches."""
    whole = with_shares([list(range(SIZE))], 0)
    net, windows, _ = started()
    for seed, (first, second) in enumerate(zip(JOINED[0], [*JOINED[1], 0, 0], strict=True)):
        samples = list(range(SIZE))
        mean_loss(net, samples[:first] + samples[SIZE - second :], seed).backward()
        windows.step()
    halves = accumulated([[0, 1, 2, 3], [4, 5, 6, 7]])
    padded = with_lengths(list(range(SIZE)))
    return {**dict.fromkeys(SHARES, whole), "no_sync": halves, "join": windows.history, "lengths": padded}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_ranks(work, tmp_path_factory.mktemp("ranks"), 2)


@pytest.mark.parametrize("case", [*SHARES, "no_sync", "join", "lengths"])
def test_windows_are_those_of_the_joined_batch(found, case):
    expected = alone()[case]
    assert sum(row["window"] != row["window_before"] for row in expected) > 8
    for history in (rank[case] for rank in found):
        assert len(history) == len(expected)
        for mine, theirs in zip(history, expected, strict=True):
            for name in ("iteration", "layer", "step", "window", "window_before", "kept"):
                assert mine[name] == theirs[name], name
            for name in ("sgv", "tgc", "cv", "norm", "sparsity"):
                wanted = theirs[name]
                assert mine[name] == (
                    wanted if wanted is None else pytest.approx(wanted, rel=1e-9, abs=1e-12)
                )
    assert found[0][case] == found[1][case]  # to the bit


def test_another_reduction_is_told():
    net, windows, _ = started()
    windows.reduction = "average"
    mean_loss(net, [0, 1], 0).backward()
    with pytest.raises(InputError, match="unknown reduction 'average': choose one of mean, sum"):
        windows.step()


def test_a_paused_pass_is_not_observed():
    net, windows, _ = started()
    with windows.paused():
        mean_loss(net, [0, 1], 0).backward()
    mean_loss(net, [2, 3], 0).backward()
    windows.step()
    other, once, _ = started()
    mean_loss(other, [2, 3], 0).backward()
    once.step()
    assert windows.history == once.history
    assert torch.equal(net.neurons[0].window, other.neurons[0].window)
