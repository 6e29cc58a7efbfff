"""Parts of data sets: the first of each class in proportion, the same part held out for ever."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from a2sg.data.splits import hold_out, spread
from a2sg.errors import InputError

labels_of = arrays.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4))


@given(labels=labels_of, count=st.integers(1, 80))
def test_spread_takes_the_first_of_each_class_in_proportion(labels, count):
    taken = spread(labels, count)
    assert len(taken) == min(count, len(labels))
    assert (np.diff(taken) > 0).all()
    for label in range(5):
        members = np.flatnonzero(labels == label)
        mine = [index for index in taken if labels[index] == label]
        assert mine == members[: len(mine)].tolist()
        assert abs(len(mine) - len(taken) * len(members) / len(labels)) < 1.5


def test_spread_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    assert spread(labels, 4).tolist() == [0, 1, 4, 6]
    assert spread(np.array([2, 1, 0, 2, 1, 0]), 3).tolist() == [0, 1, 2]


@given(labels=labels_of, share=st.floats(0.05, 0.95))
def test_the_held_out_part_is_a_stratified_share(labels, share):
    count = round(share * len(labels))
    if not 0 < count < len(labels):
        with pytest.raises(InputError, match="leaves one part empty"):
            hold_out(labels, share)
        return
    kept, held = hold_out(labels, share)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held) == count
    for label in range(5):
        members = (labels == label).sum()
        assert abs((labels[held] == label).sum() - count * members / len(labels)) < 1.5


def test_the_held_out_part_is_the_one_written_down():
    _, held = hold_out(np.arange(60_000) % 10, 0.1)
    digest = hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()
    assert digest == "fad1aba4ee2c0ff2bc61800e952fd4d7a28fd7ea78b0f9a9c7ba2c52d4453233"
    assert (np.bincount(held % 10) == 600).all()
