"""Which window a step has, by hand; and windows that were saved with another T, or other groups."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import a2sg
from a2sg import InputError
from a2sg.window.sharing import Sharing, fitted


@pytest.mark.parametrize(
    ("steps", "groups", "expected"),
    [
        (4, 4, [0, 1, 2, 3, 3, 3]),
        (4, 1, [0, 0, 0, 0, 0, 0]),
        (6, 3, [0, 0, 1, 1, 2, 2, 2, 2]),
        (5, 3, [0, 0, 1, 1, 2, 2, 2]),
        (4, 3, [0, 0, 1, 2, 2]),
        (1, 1, [0, 0]),
    ],
)
def test_the_group_of_a_step_by_hand(steps, groups, expected):
    sharing = Sharing(steps, groups)
    assert [sharing.group(step) for step in range(len(expected))] == expected
    window = torch.arange(groups) + 1.0
    assert sharing.windows(window, 0, len(expected)).tolist() == [one + 1.0 for one in expected]
    assert sharing.windows(window, 1, 1).tolist() == [expected[min(1, len(expected) - 1)] + 1.0]
    assert sharing.windows(window, 100, 2).tolist() == [groups, groups]


@given(st.integers(1, 40), st.data())
def test_groups_are_runs_of_steps_as_equal_as_can_be(steps, data):
    groups = data.draw(st.integers(1, steps))
    sharing = Sharing(steps, groups)
    runs = [sharing.steps_of(group) for group in range(groups)]
    assert [step for run in runs for step in run] == list(range(steps))
    assert max(map(len, runs)) - min(map(len, runs)) <= 1
    assert sharing.ends == [run[-1] + 1 for run in runs]
    assert all(sharing.group(step) == group for group, run in enumerate(runs) for step in run)
    first = data.draw(st.integers(0, steps + 3))
    end = data.draw(st.integers(first, steps + 9))
    found = [(group, list(range(first, end))[run]) for group, run in sharing.runs(first, end)]
    assert [step for _, run in found for step in run] == list(range(first, end))
    assert all(sharing.group(step) == group for group, run in found for step in run)
    assert len({group for group, _ in found}) == len(found)


def network(steps, **options):
    return nn.Sequential(nn.Linear(2, 3), a2sg.LIF(steps, **options), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("saved", "steps", "groups", "expected"),
    [
        ([0.3], 4, None, [0.3, 0.3, 0.3, 0.3]),
        ([0.1, 0.2, 0.3, 0.4], 2, None, [0.1, 0.2]),
        ([0.1, 0.2], 4, None, [0.1, 0.2, 0.2, 0.2]),
        ([0.1, 0.2], 9, 3, [0.1, 0.2, 0.2]),
        ([0.1, 0.2, 0.3, 0.4], 9, 1, [0.1]),
    ],
)
def test_weights_of_another_t_are_loaded_strictly(saved, steps, groups, expected):
    theirs = network(len(saved), window=saved)
    state = theirs.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    mine = network(steps, groups=groups)
    assert str(mine.load_state_dict(state)) == "<All keys matched successfully>"
    assert mine[1].window.tolist() == pytest.approx(expected)
    assert torch.equal(mine[0].weight, theirs[0].weight)
    assert all(torch.equal(state[key], before[key]) for key in before), "the state is left as it was"


def test_a_neuron_alone_loads_too_and_windows_of_channels_keep_them():
    saved = torch.rand(2, 1, 3) + 0.1
    mine = a2sg.LIF(3, window=torch.ones(3, 1, 3))
    mine.load_state_dict(a2sg.LIF(2, window=saved).state_dict())
    assert torch.equal(mine.window, saved[[0, 1, 1]])
    with pytest.raises(RuntimeError, match="size mismatch"):
        mine.load_state_dict(a2sg.LIF(2).state_dict())


def test_a_missing_window_is_told():
    state = network(4).state_dict()
    del state["1.window"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"1.window"'):
        network(2).load_state_dict(state)


def test_a_site_of_version_0_1_loads_at_another_t():
    site = a2sg.SpikeSite(4)
    site.load_state_dict({"window": torch.tensor([0.2, 0.6])})
    assert site.window.tolist() == pytest.approx([0.2, 0.6, 0.6, 0.6])


def test_windows_that_fit_are_taken_as_they_are():
    window = torch.rand(3)
    assert fitted(window, 3) is window


@pytest.mark.parametrize("groups", [0, 5, 1.5, True])
def test_groups_out_of_range_are_refused(groups):
    with pytest.raises(InputError, match="groups"):
        a2sg.LIF(4, groups=groups)


def test_windows_are_one_for_each_group():
    assert a2sg.LIF(6, groups=3, window=[0.1, 0.2, 0.3]).window.tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="3 groups of steps"):
        a2sg.LIF(6, groups=3, window=[0.1] * 6)
    assert "groups=3" in repr(a2sg.LIF(6, groups=3))
