"""What an `AdaptiveWindows` holds: tables that add up, a state to continue from, its hold on the model."""

import copy
import math

import pytest
import torch
from torch import nn

from a2sg import LIF, AdaptiveWindows, InputError, SpikeSite
from networks import NOW, Net, Plan, assert_alike, batch, lists, observe
from saved import reload


def tables(windows):
    return {name: observer.table.clone() for name, observer in windows.observers.items()}


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
def test_micro_batches_add_up(search, gradient):
    x, y = batch(4, size=9)
    options = {**NOW, "search": search, "gradient": gradient, "candidates": 20}
    whole, parts = Net(Plan()), Net(Plan())
    whole_windows, part_windows = AdaptiveWindows(whole, **options), AdaptiveWindows(parts, **options)
    whole.loss(x, y).backward()
    for at in (slice(0, 2), slice(2, 5), slice(5, 9)):
        parts.loss(x[:, at], y[at]).backward()
    for name, table in tables(whole_windows).items():
        torch.testing.assert_close(tables(part_windows)[name], table, rtol=1e-10, atol=1e-14)
    whole_windows.step()
    part_windows.step()
    assert lists(whole) == lists(parts) == lists(whole)
    assert all((table == 0).all() for table in tables(part_windows).values()), "and start anew"


def test_nothing_is_looked_at_between_observed_iterations_nor_without_a_backward_pass():
    net = Net(Plan())
    windows = AdaptiveWindows(net, every=2, candidates=5)
    x, y = batch(4)
    net.loss(x, y).backward()  # iteration 0
    windows.step()
    windows.step()
    assert windows.observing
    with torch.no_grad():
        net(x)
    net.eval()
    net(x)
    assert all((table == 0).all() for table in tables(windows).values())


def test_forward_passes_do_not_change_with_observation():
    watched, alone = Net(Plan()), Net(Plan())
    AdaptiveWindows(watched, **NOW)
    assert_alike(watched, alone, *batch(4))


def test_a_neuron_used_twice_adds_both_uses():
    neuron = LIF(3).double()
    windows = AdaptiveWindows(neuron, **NOW, candidates=4)
    x, _ = batch(3)
    x.requires_grad_()
    neuron(neuron(x)).sum().backward()
    assert (windows.observers[""].table[:, :, 0] == 2 * x[0].numel()).all()


@pytest.mark.parametrize("search", ["exact", "bayes"])
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
@pytest.mark.parametrize("middle", [False, True])
def test_continuing_from_a_state_equals_never_having_stopped(search, stop, middle):
    """Also between the two micro-batches of an observed iteration."""
    options = {"every": 2, "start": 1, "search": search, "candidates": 8}
    x, y = batch(4, size=8)

    def micro(net, iteration, part):
        at = slice(4 * part, 4 * part + 4)
        net.loss(x[:, at] + 0.1 * iteration, y[at]).backward()

    whole = Net(Plan())
    whole_windows = AdaptiveWindows(whole, **options)
    net = Net(Plan())
    windows = AdaptiveWindows(net, **options)
    for iteration in range(5):
        for part in (0, 1):
            if iteration == stop and part == int(middle):
                saved = reload({"model": net.state_dict(), "windows": windows.state_dict()})
                net = Net(Plan(), seed=9)
                windows = AdaptiveWindows(net, **options)
                net.load_state_dict(saved["model"])
                windows.load_state_dict(saved["windows"])
                assert windows.iteration == stop
            micro(whole, iteration, part)
            micro(net, iteration, part)
        whole_windows.step()
        windows.step()
    assert lists(net) == lists(whole)
    assert windows.history == whole_windows.history
    assert windows.kept == whole_windows.kept
    assert windows.iteration == whole_windows.iteration == 5
    assert windows.seconds > 0


def test_a_state_is_a_copy():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    x, y = batch(4)
    observe(net, windows, x, y)
    state = windows.state_dict()
    kept = copy.deepcopy(state)
    observe(net, windows, x, y)
    assert state["iteration"] == kept["iteration"]
    assert state["history"] == kept["history"]
    assert all(torch.equal(state["tables"][name], table) for name, table in kept["tables"].items())


def test_keeping_is_counted_on_after_loading():
    windows = AdaptiveWindows(Net(Plan()), **NOW)
    windows.step()
    other = AdaptiveWindows(Net(Plan()), **NOW)
    other.load_state_dict(reload(windows.state_dict()))
    assert other.kept == {"no gradient": 8}


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        (Plan(), {"candidates": 6}),
        (Plan(), {"search": "bayes"}),
        (Plan(), {"low": 0.2}),
        (Plan(), {"high": 0.9}),
    ],
)
def test_a_state_of_another_search_is_refused_and_changes_nothing(plan, options):
    theirs = Net(plan)
    state = AdaptiveWindows(theirs, **{**NOW, "candidates": 5, **options})
    observe(theirs, state, *batch(plan.steps))
    windows = AdaptiveWindows(Net(Plan()), **NOW, candidates=5)
    with pytest.raises(InputError, match="another model or search"):
        windows.load_state_dict(state.state_dict())
    assert windows.iteration == 0
    assert windows.history == []


@pytest.mark.parametrize(("saved", "steps"), [(1, 4), (4, 1), (2, 5)])
def test_a_state_of_another_t_is_taken_and_the_search_goes_on(saved, steps, caplog):
    theirs, net = Net(Plan(steps=saved)), Net(Plan(steps=steps))
    options = {"every": 2, "start": 0, "candidates": 5}
    before, windows = AdaptiveWindows(theirs, **options), AdaptiveWindows(net, **options)
    x, y = batch(5)
    observe(theirs, before, x[:saved], y)
    before.step()
    assert before.observing
    net.load_state_dict(theirs.state_dict())
    windows.load_state_dict(reload(before.state_dict()))
    assert windows.iteration == 2
    assert windows.history == before.history
    assert windows.kept == before.kept
    assert len(caplog.messages) == 1
    assert f"for {saved} steps or groups" in caplog.text
    assert f"here there are {steps}" in caplog.text
    assert "again" not in caplog.text, "there was nothing to lose"
    fresh = Net(Plan(steps=steps))
    fresh.load_state_dict(theirs.state_dict())
    for one, search in ((net, windows), (fresh, AdaptiveWindows(fresh, **options))):
        observe(one, search, x[:steps], y)
    assert lists(net) == lists(fresh), "the search is that of the other T, from the windows in order"
    assert {row["iteration"] for row in windows.history} == {0, 2}


@pytest.mark.parametrize("steps", [2, 4])
def test_the_sums_of_a_search_that_had_begun_with_another_t_are_not_mixed_in(steps, caplog):
    theirs, net = Net(Plan(steps=3)), Net(Plan(steps=steps))
    before, windows = (AdaptiveWindows(one, **NOW, candidates=5) for one in (theirs, net))
    x, y = batch(steps)
    theirs.loss(torch.cat([x, x])[:3], y).backward()
    net.loss(x, y).backward()  # must not stay either
    windows.load_state_dict(reload(before.state_dict()))
    assert "the search that had begun starts again" in caplog.text
    assert not windows.store.flat.any()
    net.zero_grad()
    observe(net, windows, x, y)
    assert windows.kept == {}
    assert max(row["step"] for row in windows.history) == steps


def test_windows_that_only_the_search_saves_follow_the_rule_of_buffers():
    def build(steps, **options):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 3), SpikeSite(steps, **options))
        return net, AdaptiveWindows(net, **NOW, candidates=5)

    _, before = build(2, window=[0.25, 0.5])
    for steps, groups, expected in (
        (4, None, [0.25, 0.5, 0.5, 0.5]),
        (1, None, [0.25]),
        (9, 3, [0.25, 0.5, 0.5]),
    ):
        net, windows = build(steps, groups=groups)
        windows.load_state_dict(reload(before.state_dict()))
        assert net[1].window.tolist() == expected


def test_a_state_of_other_layers_is_refused():
    windows = AdaptiveWindows(Net(Plan()), candidates=5)
    with pytest.raises(InputError, match=r"layers only there: '0'; layers only here: 'neurons\.0'"):
        windows.load_state_dict(AdaptiveWindows(nn.Sequential(LIF(4)), candidates=5).state_dict())


def test_a_state_of_other_candidates_says_which_sums_differ():
    windows = AdaptiveWindows(nn.Sequential(LIF(4)), candidates=5)
    other = AdaptiveWindows(nn.Sequential(LIF(4)), candidates=6).state_dict()
    with pytest.raises(
        InputError, match=r"layer '0', \[T, candidates \+ 1, .*\(4, 7, 6\), here \(4, 6, 6\).*starts again"
    ):
        windows.load_state_dict(other)


def test_the_state_of_a_model_is_no_state_of_windows():
    net = nn.Sequential(LIF(4))
    with pytest.raises(
        InputError, match=r"lack .*: load the whole state_dict\(\) of windows, not that of the"
    ):
        AdaptiveWindows(net).load_state_dict(net.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, not 0"),
        ({"every": 2.5}, "every must be a whole number of at least 1, not 2.5"),
        ({"start": -1}, "start must be a whole number of at least 0, not -1"),
        ({"low": 1.0, "high": 1.0}, "low=1.0 and high=1.0"),
        ({"low": 0.9, "high": 0.2}, "low=0.9 and high=0.2"),
        ({"low": 0.0}, "low must be a number above 0, not 0"),
        ({"low": -0.1}, "low must be a number above 0, not -0.1"),
        ({"high": math.inf}, "high must be a number above 0, not inf"),
        ({"high": math.nan}, "high must be a number above 0, not nan"),
        ({"candidates": 1}, "candidates must be a whole number of at least 2, not 1"),
        ({"search": "gird"}, "'gird' \\(did you mean 'grid'"),
        ({"search": "guess"}, "unknown search 'guess'"),
        ({"gradient": "half"}, "unknown gradient 'half'"),
    ],
)
def test_bad_options_are_told_with_their_value(options, message):
    model = LIF(4)
    with pytest.raises(InputError, match=message) as error:
        AdaptiveWindows(model, **options)
    assert "\n" not in str(error.value)
    assert model.observer is None


def test_a_model_without_neurons_is_told():
    with pytest.raises(InputError, match=r"no spiking neurons.*a2sg\.LIF"):
        AdaptiveWindows(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_windows_per_channel_are_told_which_layer():
    model = nn.Sequential(nn.Linear(2, 2), LIF(2, window=torch.ones(2, 1, 3)))
    with pytest.raises(InputError, match=r"'1' has windows of shape \(2, 1, 3\)"):
        AdaptiveWindows(model)


def test_a_copy_of_the_model_is_not_watched_by_the_original():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    x, y = batch(4)
    net.loss(x, y).backward()
    before = tables(windows)
    twin = copy.deepcopy(net)
    twin.loss(x + 1, y).backward()
    assert all(torch.equal(tables(windows)[name], table) for name, table in before.items())
    windows.step()
    assert lists(twin) != lists(net)
    assert twin.neurons[0].window.tolist() == [1.0] * 4


def test_model_and_windows_copied_together_stay_together():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    twin, twin_windows = copy.deepcopy((net, windows))
    x, y = batch(4)
    observe(twin, twin_windows, x, y)
    assert lists(net)["neurons.0"] == [1.0] * 4
    observe(net, windows, x, y)
    assert lists(twin) == lists(net)


def test_detaching_ends_it():
    net = Net(Plan())
    windows = AdaptiveWindows(net, **NOW, candidates=5)
    x, y = batch(4)
    observe(net, windows, x, y)
    found, rows = lists(net), len(windows.history)
    windows.detach()
    net.loss(x + 1, y).backward()
    assert all((table == 0).all() for table in tables(windows).values())
    for _ in range(2):  # a loop that goes on calling step
        observe(net, windows, x + 1, y)
    assert lists(net) == found
    assert len(windows.history) == rows
    assert all(neuron.observer is None for neuron in net.neurons)


def test_a_state_that_lacks_something_is_refused():
    windows = AdaptiveWindows(Net(Plan()), **NOW)
    state = windows.state_dict()
    del state["kept"]
    with pytest.raises(InputError, match="lack kept"):
        windows.load_state_dict(state)
