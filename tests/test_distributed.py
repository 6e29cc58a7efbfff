"""Two processes with half of the batch each find the windows of one process with all of it."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from a2sg import AdaptiveWindows
from networks import Net, Plan, batch

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch.distributed is not built in")

RANKS = 2
OPTIONS = [
    {"search": "exact"},
    {"search": "bayes", "candidates": 20},
    {"gradient": "full"},
    {"spatial": False, "temporal": False},
]


def iterations(shares):
    """Windows and history after three observed iterations, for every option; `shares` names one's samples.

    The second iteration is an empty one for all ranks but the first, the third is broken on one sample.
    """
    results = []
    for options in OPTIONS:
        net = Net(Plan())
        windows = AdaptiveWindows(net, every=1, start=0, **options)
        for iteration, samples in enumerate(shares):
            x, y = batch(4, size=8, seed=iteration)
            if len(samples):
                net.loss(
                    x[:, samples], y[samples], float("nan") if iteration == 2 and 7 in samples else 1.0
                ).backward()
            windows.step()
        found = {name: window.tolist() for name, window in net.windows().items()}
        results.append((found, windows.history, dict(windows.kept)))
    return results


def shares_of(rank):
    half = [4 * rank, 4 * rank + 1, 4 * rank + 2, 4 * rank + 3]
    return [half, list(range(8)) if rank == 0 else [], half]


def work(rank, rendezvous, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=RANKS)
    try:
        torch.save(iterations(shares_of(rank)), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        if "lo" in {name for _, name in socket.if_nameindex()}:
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        mp.spawn(work, (folder / "rendezvous", folder), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone():
    """One process; a broken share breaks the whole batch."""
    everything = list(range(8))
    return iterations([everything] * 3)


@pytest.mark.parametrize("option", range(len(OPTIONS)), ids=str)
def test_ranks_find_the_windows_of_the_whole_batch(ranks, alone, option):
    found, history, kept = alone[option]
    assert len(history) == 3 * 8
    if option < 3:
        assert kept == {"not finite": 8}
        assert any(window != 1.0 for row in found.values() for window in row)
    for rank in ranks:
        assert rank[option][0] == found
        assert rank[option][2] == kept
        for mine, theirs in zip(rank[option][1], history, strict=True):
            assert mine["window"] == theirs["window"]
            assert mine["window_before"] == theirs["window_before"]
            assert mine["kept"] == theirs["kept"]
            for name in ("sgv", "tgc", "sgv_before", "tgc_before"):
                if theirs[name] is None:
                    assert mine[name] is None
                else:
                    assert mine[name] == pytest.approx(theirs[name], rel=1e-9, abs=1e-12)


def test_every_rank_has_the_same_numbers(ranks):
    for option in range(len(OPTIONS)):
        assert ranks[0][option][1] == ranks[1][option][1]
