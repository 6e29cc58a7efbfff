"""An adapted model under DDP: ranks find the windows of one process with the whole batch."""

from functools import partial

import torch
from torch import nn

import a2sg
from lookalikes import Attention, Looped, Sited, draw
from networks import NOW
from published import BATCH
from ranks import needs_distributed, run_ranks
from styles import STYLES

pytestmark = needs_distributed

RANKS, T, SIZE = 2, 4, BATCH
STBP = next(style for style in STYLES if style.name == "STBP")


def networks():
    """Adapted networks, each with how its batches are drawn."""
    for kind in (Looped, Sited):
        torch.manual_seed(0)
        net = Attention(kind).double()
        functions = {Looped: "act"} if kind is Looped else None
        yield net, a2sg.adapt(net, steps=T, functions=functions, **NOW), partial(draw, Attention, T, SIZE)
    net = STBP.build()
    yield net, a2sg.adapt(net, steps=T, example=STBP.example(), **NOW), STBP.draw


def iterations(samples, wrap):
    """History and gradients of two observed iterations on a share of the batch, for each network."""
    results = []
    for net, windows, drawn in networks():
        run = wrap(net)
        for seed in range(2):
            x, y = drawn(seed=seed)
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
