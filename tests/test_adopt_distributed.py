"""An adapted model under DDP: ranks find the windows of one process with the whole batch."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import a2sg
from lookalikes import Attention, Looped, Sited, draw
from networks import NOW

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch.distributed is not built in")

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


def work(rank, rendezvous, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=RANKS)
    try:
        share = list(range(rank, SIZE, RANKS))
        torch.save(iterations(share, nn.parallel.DistributedDataParallel), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_ranks_find_the_windows_of_the_whole_batch(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        if "lo" in {name for _, name in socket.if_nameindex()}:
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        mp.spawn(work, (tmp_path / "rendezvous", tmp_path), nprocs=RANKS)
    expected = iterations(list(range(SIZE)), lambda net: net)
    for rank in range(RANKS):
        for found, wanted in zip(
            torch.load(tmp_path / f"{rank}.pt", weights_only=False), expected, strict=True
        ):
            moved = 0
            for mine, theirs in zip(found[0], wanted[0], strict=True):
                assert mine["window"] == theirs["window"]
                assert mine["kept"] == theirs["kept"]
                moved += mine["window"] != mine["window_before"]
            assert moved > 10
            for mine, theirs in zip(found[1], wanted[1], strict=True):
                torch.testing.assert_close(mine * RANKS, theirs, rtol=1e-9, atol=1e-11)
