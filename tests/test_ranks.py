"""What ranks tell each other: alone, and in two processes."""

import pytest
import torch

from a2sg.errors import InputError
from a2sg.ranks import (
    Vote,
    add_up,
    by_first,
    from_first,
    gathered,
    idles,
    idling,
    leaders_first,
    of_first,
    rank,
    rank_count,
)
from ranks import needs_distributed, run_ranks


def refused(number):
    raise InputError(f"rank {number} cannot")


def told(work):
    """The message of an error, or what came."""
    try:
        return work()
    except InputError as error:
        return str(error)


def everything(number):
    """What a rank finds, in words and numbers."""
    order = []
    vote = Vote()
    return {
        "rank": (rank(), rank_count()),
        "sum": add_up(torch.tensor([1.0, number])).tolist(),
        "first's tensor": from_first(torch.tensor([7 + number])).tolist(),
        "first's value": of_first({"rank": number}),
        "all": gathered(f"rank {number}"),
        "by first": by_first(lambda: f"done by {number}"),
        "first cannot": told(lambda: by_first(lambda: refused(number))),
        "leaders": leaders_first(lambda: order.append(number) or f"done by {number}", leads=number == 0),
        "a leader cannot": told(lambda: leaders_first(lambda: refused(number), leads=number == 1)),
        "votes": [vote(wish) for wish in (0, 3 * number, 0, 0)],
    }


def test_one_alone_tells_itself():
    assert everything(0) == {
        "rank": (0, 1),
        "sum": [1.0, 0.0],
        "first's tensor": [7],
        "first's value": {"rank": 0},
        "all": ["rank 0"],
        "by first": "done by 0",
        "first cannot": "rank 0 cannot",
        "leaders": "done by 0",
        "a leader cannot": "rank 0 cannot",
        "votes": [0, 0, 0, 0],
    }
    assert [Vote()(wish) for wish in (0, 3, 15)] == [0, 3, 15]


@needs_distributed
def test_two_tell_each_other(tmp_path):
    found = run_ranks(everything, tmp_path, 2)
    for number, one in enumerate(found):
        assert one == {
            "rank": (number, 2),
            "sum": [2.0, 1.0],
            "first's tensor": [7],
            "first's value": {"rank": 0},
            "all": ["rank 0", "rank 1"],
            "by first": "done by 0",
            "first cannot": "rank 0 cannot",
            "leaders": f"done by {number}",
            "a leader cannot": "rank 1 cannot",
            "votes": [0, 0, 3, 0],  # a step later
        }


def test_a_rank_idles_within_the_context_alone():
    assert not idles()
    with idling():
        assert idles()
    assert not idles()
    with pytest.raises(InputError), idling():
        refused(0)
    assert not idles()
