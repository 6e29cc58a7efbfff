"""Two processes with half of the batch each find what one process finds with all of it."""

import pytest

from a2sg.baselines import CPNG, DspikeSearch
from networks import Net, Plan, batch
from ranks import needs_distributed, run_ranks


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


def work(rank):
    return ranked(slice(4 * rank, 4 * rank + 4))


@needs_distributed
def test_two_ranks_find_what_one_finds_with_the_whole_batch(tmp_path):
    ranks = run_ranks(work, tmp_path, 2)
    assert ranks[0] == ranks[1]
    assert ranks[0] == pytest.approx(ranked(slice(0, 8)), rel=1e-6)
