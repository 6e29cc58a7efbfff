"""An adapted model under DDP: ranks find the windows of one process with the whole batch."""

import torch
from torch import nn

import a2sg
from lookalikes import Attention, Looped, Sited, draw
from networks import NOW
from ranks import needs_distributed, run_ranks

pytestmark = needs_distributed

RANKS, T, SIZE = 2, 4, 6
KINDS = [Looped, Sited]


def iterations(samples, wrap):
    """History and gradients of two observed iterations on a share of the batch, for each kind of neuron."""
    results = []
    for kind in KINDS:
        torch.manual_seed(0)
        net = Attention(kind).double()
        functions = {Looped: "act"} if kind is Looped else None
        windows = a2sg.adapt(net, steps=T, functions=functions, **NOW)
        run = wrap(net)
        for seed in range(2):
            x, y = draw(Attention, T, size=SIZE, seed=seed)
            net.zero_grad()
            nn.functional.cross_entropy(run(x[:, samples]), y[samples], reduction="sum").backward()
            windows.step()
        results.append((windows.history, [parameter.grad for parameter in net.parameters()]))
    return results


def work(rank):
    return iterations(list(range(rank, SIZE, RANKS)), nn.parallel.DistributedDataParallel)


def test_ranks_find_the_windows_of_the_whole_batch(tmp_path):
    expected = iterations(list(range(SIZE)), lambda net: net)
    for rank in run_ranks(work, tmp_path, RANKS):
        for found, wanted in zip(rank, expected, strict=True):
            moved = 0
            for mine, theirs in zip(found[0], wanted[0], strict=True):
                assert mine["window"] == theirs["window"]
                assert mine["kept"] == theirs["kept"]
                moved += mine["window"] != mine["window_before"]
            assert moved > 10
            for mine, theirs in zip(found[1], wanted[1], strict=True):
                torch.testing.assert_close(mine * RANKS, theirs, rtol=1e-9, atol=1e-11)
