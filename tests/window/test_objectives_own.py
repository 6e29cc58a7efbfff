"""Objectives that users write, for either part of the search, against trying every candidate by hand."""

import pytest
import torch

from a2sg import AdaptiveWindows
from a2sg.errors import InputError
from a2sg.window import Objective, Sums, register_objective
from a2sg.window.objectives import OBJECTIVES
from networks import NOW, Net, Plan, Replica, batch, best_of, candidates, lists, observe


def focus(sums):
    """Large where few elements hold most of the gradient."""
    return sums[..., Sums.SQUARE].sqrt() / sums[..., Sums.ABS]


def focus_by_hand(delta):
    return (delta.norm() / delta.abs().sum()).item()


def undefined(sums):
    return sums[..., Sums.ABS] * torch.nan


@pytest.fixture
def registered():
    register_objective("focus")(focus)
    yield OBJECTIVES["focus"]
    del OBJECTIVES["focus"]


@pytest.mark.parametrize("by_name", [False, True])
def test_it_decides_where_it_is_asked_to(registered, by_name):
    plan = Plan(steps=3)
    net = Net(plan)
    objective = "focus" if by_name else registered
    windows = AdaptiveWindows(net, **NOW, candidates=20, spatial=objective, temporal=objective)
    x, y = batch(plan.steps)
    replica = Replica(net, x, y)
    observe(net, windows, x, y)
    for name, steps in replica.steps.items():
        for t, step in enumerate(steps):
            tried = {w: focus_by_hand(step.delta(w)) for w in candidates(count=20) if step.delta(w).any()}
            assert lists(net)[name][t] == best_of(tried)


def test_where_it_has_no_score_the_window_is_kept():
    net = Net(Plan())
    before = lists(net)
    windows = AdaptiveWindows(net, **NOW, spatial=Objective("undefined", undefined), temporal=False)
    observe(net, windows, *batch(4))
    assert lists(net) == before
    assert windows.kept.total() == len(net.neurons)


def test_a_name_is_given_once(registered):
    assert register_objective("focus")(focus) is focus
    assert OBJECTIVES["focus"] == registered
    with pytest.raises(InputError, match="'focus' is already the name of another objective"):
        register_objective("focus")(undefined)


@pytest.mark.parametrize("word", ["sgv", "std"])
def test_the_former_word_still_works(word):
    found = []
    for options in ({"spatial": word}, {"spread": word}):
        net = Net(Plan())
        if "spread" in options:
            with pytest.warns(FutureWarning, match=f"is now spatial='{word}'"):
                windows = AdaptiveWindows(net, **NOW, **options)
        else:
            windows = AdaptiveWindows(net, **NOW, **options)
        observe(net, windows, *batch(4))
        found.append(lists(net))
    assert found[0] == found[1]
    with pytest.warns(FutureWarning):
        assert AdaptiveWindows(Net(Plan()), spread=word, spatial=False).spatial is None
