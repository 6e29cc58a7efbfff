"""Two processes with half of the batch each find the windows of one process with all of it."""

import pytest

from a2sg import AdaptiveWindows
from networks import Net, Plan, batch
from ranks import needs_distributed, run_ranks

pytestmark = needs_distributed

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
        windows.reduction = "sum"  # as the loss of these networks is
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


def work(rank):
    return iterations(shares_of(rank))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_ranks(work, tmp_path_factory.mktemp("ranks"), 2)


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
