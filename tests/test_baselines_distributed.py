"""Two processes with half of the batch each find what one process finds with all of it."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from a2sg.baselines import CPNG, DspikeSearch
from networks import Net, Plan, batch


def ranked(samples):
    """What both policies find, each after two iterations with these samples of a batch of eight."""
    found = []
    for policy, shape, options in (
        (CPNG, "triangle-unit", {"low": 0.05, "share": 0.3}),
        (DspikeSearch, "dspike", {"change": 1.0, "weights": 20}),
    ):
        net = Net(Plan(shape=shape, window=0.5))
        windows = policy(net, every=1, start=0, **options)
        for seed in range(2):
            x, y = batch(4, size=8, seed=seed)
            net.loss(x[:, samples], y[samples]).backward()
            windows.step(lambda net=net, x=x, y=y: net.loss(x[:, samples], y[samples]))
        found += [row["window"] for row in windows.history]
        found += [row.get("temperature", 0.0) for row in windows.history]
        found += [row.get("cosine", 0.0) for row in windows.history]
    return found


def work(rank, rendezvous, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    try:
        torch.save(ranked(slice(4 * rank, 4 * rank + 4)), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch.distributed is not built in")
def test_two_ranks_find_what_one_finds_with_the_whole_batch(tmp_path):
    mp.spawn(work, (tmp_path / "rendezvous", tmp_path), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert ranks[0] == ranks[1]
    assert ranks[0] == pytest.approx(ranked(slice(0, 8)), rel=1e-6)
