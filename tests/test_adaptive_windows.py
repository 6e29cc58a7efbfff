"""`AdaptiveWindows` against a replica of the whole network in which every candidate is tried by hand."""

import copy
import io
import logging
import math

import pytest
import torch
from torch import nn

import a2sg
import reference
from a2sg import LIF, AdaptiveWindows, InputError
from a2sg.surrogate import Asymmetric, Boxcar
from networks import Net, Plan, Replica, batch
from reference import BY_NAME

NOW = {"every": 1, "start": 0}
COLUMNS = [
    "iteration",
    "layer",
    "step",
    "window",
    "sgv",
    "tgc",
    "window_before",
    "sgv_before",
    "tgc_before",
    "kept",
]


def candidates(low=0.1, high=1.0, count=100):
    """What a float32 window can hold of the uniform grid."""
    return torch.linspace(low, high, count, dtype=torch.float64).float().tolist()


def lists(net):
    return {name: window.tolist() for name, window in net.windows().items()}


def observe(net, windows, x, y, scale=1.0):
    net.zero_grad()
    net.loss(x, y, scale).backward()
    windows.step()


PLANS = [
    Plan(),
    Plan(steps=1),
    Plan(steps=2, shape="triangle"),
    Plan(steps=7, shape="asymmetric-0.8", threshold=0.5),
    Plan(reset="hard", shape="pinned"),
    Plan(reset="hard", detach=True, shape="triangle-unit"),
    Plan(detach=True, shape="boxcar", window=0.5),
    Plan(shape="boxcar-unit"),
    Plan(order="scaled", shape="asymmetric-unit", threshold=1.7),
    Plan(kind="if", shape="arctan"),
    Plan(kind="plif", shape="dspike"),
    Plan(kind="integer", shape="boxcar", window=0.5),
    Plan(kind="integer", shape="triangle", steps=1),
    Plan(conv=True, shape="fast"),
    Plan(conv=True, shape="asymmetric-0.8-unit", reset="hard"),
]


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_windows_scores_and_gradients_are_those_of_trying_everything(plan, gradient):
    """Two iterations: from one window for all steps, then from what the first one found."""
    net = Net(plan)
    windows = AdaptiveWindows(net, **NOW, candidates=40, gradient=gradient)
    for iteration in range(2):
        x, y = batch(plan.steps, seed=iteration)
        replica = Replica(net, x, y, full=gradient == "full")
        before = lists(net)
        observe(net, windows, x, y)
        parameters = [*net.linears.parameters(), *net.out.parameters()]
        for parameter, expected in zip(parameters, replica.gradients, strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-11)
        expected = replica.best(candidates(count=40))
        rows = windows.history[iteration * 2 * plan.steps :]
        assert lists(net) == expected
        assert all(window is not None for row in expected.values() for window in row)
        assert len(rows) == 2 * plan.steps
        for row in rows:
            step = replica.steps[row["layer"]][row["step"] - 1]
            last = row["step"] == plan.steps
            assert list(row) == COLUMNS
            assert row["iteration"] == iteration
            assert row["kept"] == ""
            assert row["window"] == expected[row["layer"]][row["step"] - 1]
            assert row["window_before"] == before[row["layer"]][row["step"] - 1]
            for suffix in ("", "_before"):
                score = step.score(row["window" + suffix])
                if last:
                    assert row["sgv" + suffix] == pytest.approx(-score, rel=1e-6)
                    assert row["tgc" + suffix] is None
                else:
                    assert row["tgc" + suffix] == pytest.approx(score, rel=1e-6, abs=1e-9)
                    assert row["sgv" + suffix] >= 0
    assert windows.kept == {}


@pytest.mark.parametrize("shape", ["asymmetric", "triangle-unit", "sigmoid", "boxcar"])
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
def test_float32_training_finds_windows_as_good_as_the_best(shape, scale):
    """In float32 near ties may fall either way: the score of what is taken is the best one's."""
    plan = Plan(shape=shape)
    net = Net(plan)
    x, y = batch(4, size=20)
    replica = Replica(net, x.float().double(), y)
    single = copy.deepcopy(net).float()
    windows = AdaptiveWindows(single, **NOW)
    single.loss(x.float(), y, scale).backward()
    windows.step()
    for name, steps in replica.steps.items():
        for step, found in zip(steps, single.windows()[name].tolist(), strict=True):
            best = step.score(step.best(candidates()))
            assert found in candidates()
            assert step.score(found) == pytest.approx(best, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("shape", ["asymmetric", "boxcar", "triangle-unit", "arctan", "dspike"])
def test_grid_and_exact_are_one(shape, gradient):
    found = []
    for search in ("exact", "grid"):
        net = Net(Plan(shape=shape))
        windows = AdaptiveWindows(net, **NOW, search=search, gradient=gradient)
        for seed in range(3):
            observe(net, windows, *batch(4, seed=seed))
        found.append((lists(net), windows.history))
    assert found[0][0] == found[1][0]
    for a, b in zip(*(rows for _, rows in found), strict=True):
        assert a["window"] == b["window"]
        assert a["sgv"] == pytest.approx(b["sgv"], rel=1e-9)
        assert (a["tgc"] is None) == (b["tgc"] is None) == (a["step"] == 4)
        assert (a["tgc"] or 0.0) == pytest.approx(b["tgc"] or 0.0, rel=1e-9, abs=1e-12)


def test_bayes_is_never_worse_than_the_grid_and_really_uses_what_it_finds():
    finer = 0
    for seed in range(4):
        grid, bayes, again = (Net(Plan(), seed) for _ in range(3))
        x, y = batch(4, seed=seed)
        replica = Replica(grid, x, y)
        for net, search in ((grid, "grid"), (bayes, "bayes"), (again, "bayes")):
            observe(net, AdaptiveWindows(net, **NOW, search=search, candidates=10), x, y)
        assert lists(bayes) == lists(again)
        for name, steps in replica.steps.items():
            for step, a, b in zip(steps, lists(grid)[name], lists(bayes)[name], strict=True):
                assert 0.1 <= a <= 1.0 + 1e-6
                assert float(torch.tensor(0.1)) <= b <= 1.0
                assert step.score(b) >= step.score(a) - 1e-6 * abs(step.score(a))
                finer += b not in candidates(count=10)
    assert finer > 0


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
def test_history_tells_the_windows_that_were_set(search):
    for seed in range(4):
        net = Net(Plan(), seed).float()
        windows = AdaptiveWindows(net, **NOW, search=search, candidates=10)
        x, y = batch(4)
        observe(net, windows, x.float(), y)
        for row in windows.history:
            assert row["window"] == lists(net)[row["layer"]][row["step"] - 1]


@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
@pytest.mark.parametrize("factor", [1e-6, 2.0**16])
def test_the_scale_of_the_loss_does_not_matter(search, factor, gradient):
    nets = Net(Plan()), Net(Plan())
    for net, scale in zip(nets, (1.0, factor), strict=True):
        windows = AdaptiveWindows(net, **NOW, search=search, candidates=30, gradient=gradient)
        observe(net, windows, *batch(4), scale)
    assert lists(nets[0]) == lists(nets[1])


@pytest.mark.parametrize("shape", ["boxcar", "boxcar-unit"])
@pytest.mark.parametrize("search", ["exact", "grid"])
@pytest.mark.parametrize("seed", range(3))
def test_ties_go_to_the_smaller_window(shape, search, seed):
    """A boxcar's cosine changes only where a window takes in another element, whatever the height."""
    net = Net(Plan(shape=shape), seed)
    x, y = batch(4, size=2, seed=seed)
    replica = Replica(net, x, y)
    observe(net, AdaptiveWindows(net, **NOW, search=search), x, y)
    assert lists(net) == replica.best(candidates())


def test_a_single_element_ties_at_every_window_that_holds_it():
    neuron = LIF(2, surrogate=Asymmetric(), window=1.0).double()
    windows = AdaptiveWindows(neuron, **NOW, low=0.1, high=1.0, candidates=10)
    x = torch.tensor([[0.55], [0.0]], dtype=torch.float64, requires_grad=True)  # x = -.45 and -.505
    (neuron(x) * 3.7).sum().backward()
    windows.step()
    assert neuron.window.tolist() == pytest.approx([0.5, 0.6])


def test_the_spatial_and_temporal_parts_are_switched_apart():
    expected = Replica(net := Net(Plan()), *batch(4)).best(candidates())
    before = lists(net)
    for spatial in (True, False):
        for temporal in (True, False):
            net = Net(Plan())
            windows = AdaptiveWindows(net, **NOW, spatial=spatial, temporal=temporal)
            net.loss(*batch(4)).backward()
            assert windows.step() == (spatial or temporal)
            for name, window in lists(net).items():
                assert window[:3] == (expected if temporal else before)[name][:3]
                assert window[3:] == (expected if spatial else before)[name][3:]
            assert windows.kept == {}
            assert [row["kept"] for row in windows.history] == [""] * 8


def test_with_both_parts_off_the_windows_are_watched():
    net = Net(Plan(window=0.6))
    replica = Replica(net, *batch(4))
    windows = AdaptiveWindows(net, **NOW, spatial=False, temporal=False)
    observe(net, windows, *batch(4))
    assert len(windows.history) == 8
    for row in windows.history:
        score = replica.steps[row["layer"]][row["step"] - 1].score(row["window"])
        assert row["window"] == row["window_before"] == pytest.approx(0.6)
        assert (-row["sgv"] if row["step"] == 4 else row["tgc"]) == pytest.approx(score, rel=1e-6)
        assert row["sgv"] == row["sgv_before"]
        assert row["tgc"] == row["tgc_before"]


@pytest.mark.parametrize(
    ("options", "observed"),
    [
        ({"every": 3}, [3, 6, 9]),
        ({"every": 3, "start": 0}, [0, 3, 6, 9]),
        ({"every": 4, "start": 1}, [1, 5, 9]),
        ({"every": 2, "start": 7}, [7, 9]),
        ({"every": 1}, list(range(1, 11))),
        ({"every": 500}, []),
        ({}, []),
    ],
)
def test_schedule(options, observed):
    net = Net(Plan(steps=2))
    windows = AdaptiveWindows(net, **options, candidates=5)
    x, y = batch(2)
    for iteration in range(11):
        assert windows.iteration == iteration
        assert windows.observing == (iteration in observed)
        before = lists(net)
        net.loss(x, y).backward()
        assert lists(net) == before, "the iteration itself uses the old windows"
        assert windows.step() == (iteration in observed)
    assert sorted({row["iteration"] for row in windows.history}) == observed
    assert len(windows.history) == len(observed) * 4


def test_the_first_search_of_the_paper_is_at_iteration_500():
    windows = AdaptiveWindows(LIF(1))
    assert windows.every == windows.start == 500


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
    state = None
    for step_current in net.current(0, x):
        out, state = net.neurons[0].step(step_current, state)
    out.sum().backward()
    assert all((table == 0).all() for table in tables(windows).values())


def test_forward_passes_do_not_change_with_observation():
    watched, alone = Net(Plan()), Net(Plan())
    AdaptiveWindows(watched, **NOW)
    x, y = batch(4)
    assert torch.equal(watched(x), alone(x))
    for net in (watched, alone):
        net.loss(x, y).backward()
    for a, b in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_a_neuron_used_twice_adds_both_uses():
    neuron = LIF(3).double()
    windows = AdaptiveWindows(neuron, **NOW, candidates=4)
    x, _ = batch(3)
    x.requires_grad_()
    neuron(neuron(x)).sum().backward()
    assert (windows.observers[""].table[:, :, 0] == 2 * x[0].numel()).all()


class Pair(nn.Module):
    """Two neurons side by side, so that one's gradients cannot reach the other."""

    def __init__(self, steps=3, surrogate=Asymmetric()):
        super().__init__()
        self.a = LIF(steps, surrogate=surrogate)
        self.b = LIF(steps, surrogate=surrogate)
        self.double()

    def backward(self, x, weights):
        x = x.clone().requires_grad_()
        (self.a(x) * weights + self.b(x)).sum().backward()


@pytest.fixture
def pair():
    x = 0.6 + torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = Pair()
    windows = AdaptiveWindows(expected, **NOW)
    expected.backward(x, torch.ones_like(x))
    windows.step()
    return x, expected.a.window.tolist()


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
@pytest.mark.parametrize("gradient", ["spike", "full"])
def test_zero_gradients_keep_the_window(pair, caplog, search, gradient):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW, search=search, gradient=gradient)
    with caplog.at_level(logging.WARNING, "a2sg"):
        model.backward(x, torch.zeros_like(x))
        windows.step()
    assert model.a.window.tolist() == [1.0] * 3
    assert windows.kept == {"all zero": 3}
    rows = {(row["layer"], row["step"]): row for row in windows.history}
    assert rows["a", 1]["kept"] == rows["a", 3]["kept"] == "all zero"
    assert rows["a", 1]["window"] == 1.0
    assert rows["b", 1]["kept"] == rows["b", 3]["kept"] == ""
    if search != "bayes" and gradient == "spike":
        assert model.b.window.tolist() == expected
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "3 of 6" in caplog.text
    assert "all zero" in caplog.text
    model.backward(x, torch.zeros_like(x))
    windows.step()
    assert windows.kept == {"all zero": 6}


def test_zero_gradients_at_the_last_step_leave_nothing_to_be_consistent_with(pair):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    weights = torch.ones_like(x)
    weights[2] = 0
    model.backward(x, weights)
    windows.step()
    assert model.a.window[1:].tolist() == [1.0, 1.0]
    assert model.a.window[0] != 1.0
    assert windows.kept == {"all zero": 2}
    assert model.b.window.tolist() == expected


def test_a_silent_layer_out_of_every_window_keeps_it():
    neuron = LIF(2, surrogate=Boxcar()).double()
    windows = AdaptiveWindows(neuron, **NOW)
    x = torch.full((2, 5), -7.0, dtype=torch.float64, requires_grad=True)
    neuron(x).sum().backward()
    windows.step()
    assert neuron.window.tolist() == [1.0, 1.0]
    assert windows.kept == {"all zero": 2}


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("distance", [0.02, 0.5, 40.0])
def test_gradients_that_are_not_finite_keep_the_window_and_spread_nowhere(
    pair, caplog, search, gradient, value, distance
):
    """One bad gradient at the first step, near the threshold, within some windows, or outside all of them."""
    x, _ = pair
    x = x.clone()
    x[0, 5] = 1 + distance
    clean = Pair()
    clean_windows = AdaptiveWindows(clean, **NOW, search=search, gradient=gradient)
    clean.backward(x, torch.ones_like(x))
    clean_windows.step()

    model = Pair()
    windows = AdaptiveWindows(model, **NOW, search=search, gradient=gradient)
    weights = torch.ones_like(x)
    weights[0, 5] = value
    with caplog.at_level(logging.WARNING, "a2sg"):
        model.backward(x, weights)
        windows.step()
    assert model.a.window[0] == 1.0
    assert windows.kept == {"not finite": 1}
    assert model.a.window[1:].tolist() == clean.a.window[1:].tolist(), "later steps have their own gradients"
    assert model.b.window.tolist() == clean.b.window.tolist()
    row = windows.history[0]
    assert (row["layer"], row["step"], row["kept"]) == ("a", 1, "not finite")
    assert row["window"] == row["window_before"] == 1.0
    assert row["sgv"] is None
    assert row["tgc"] is None
    assert all(isinstance(other["sgv"], float) for other in windows.history[1:])
    assert len(caplog.records) == 1
    assert "not finite" in caplog.text

    model.backward(x, torch.ones_like(x))  # the next iteration is clean again
    windows.step()
    assert windows.kept == {"not finite": 1}
    assert isinstance(windows.history[6]["tgc"], float)


def test_a_broken_last_step_breaks_all_earlier_ones_of_its_layer_alone(pair):
    x, expected = pair
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    model.backward(x, torch.full_like(x, math.nan))
    windows.step()
    assert model.a.window.tolist() == [1.0] * 3
    assert windows.kept == {"not finite": 3}
    assert model.b.window.tolist() == expected


def test_no_backward_pass_keeps_the_windows(caplog):
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    with caplog.at_level(logging.WARNING, "a2sg"):
        windows.step()
    assert windows.kept == {"no gradient": 6}
    assert model.a.window.tolist() == [1.0] * 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "name", ["asymmetric", "triangle", "asymmetric-unit", "triangle-unit", "pinned-0-unit"]
)
@pytest.mark.parametrize("search", ["exact", "grid"])
def test_potentials_on_the_candidates_cannot_mislead_the_search(name, search):
    """Quantised potentials lie on the edges of windows, where a ramp is 0: rounding is no gradient."""
    eighths = [k / 8 for k in range(1, 9)]
    generator = torch.Generator().manual_seed(0)
    twin = reference.Neuron(BY_NAME[name].formula, decay=0.0)
    for _ in range(40):
        current = 1 + torch.randint(-8, 9, (2, 3), generator=generator).double() / 8
        weights = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        neuron = LIF(2, decay=0.0, surrogate=BY_NAME[name].shape, window=2.0).double()
        done = reference.run(twin, current.requires_grad_(), neuron.window)
        steps = reference.steps_of(twin, done, (done.spikes * weights).sum(), neuron.window)
        windows = AdaptiveWindows(neuron, **NOW, low=0.125, high=1.0, candidates=8, search=search)
        (neuron(current) * weights).sum().backward()
        windows.step()
        for row, step in zip(windows.history, steps, strict=True):
            assert row["window"] == (step.best(eighths) or 2.0)
            assert row["tgc"] is None or abs(row["tgc"]) <= 1 + 1e-6


def reload(state):
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


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
    model = Pair()
    windows = AdaptiveWindows(model, **NOW)
    windows.step()
    other = AdaptiveWindows(Pair(), **NOW)
    other.load_state_dict(reload(windows.state_dict()))
    assert other.kept == {"no gradient": 6}


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        (Plan(steps=3), {}),
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


def test_a_state_of_other_layers_is_refused():
    windows = AdaptiveWindows(Net(Plan()), candidates=5)
    with pytest.raises(InputError, match=r"neurons\.0"):
        windows.load_state_dict(AdaptiveWindows(nn.Sequential(LIF(4)), candidates=5).state_dict())


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
        ({"search": "random"}, "unknown search 'random'"),
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


def test_low_precision_models_adapt():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        neuron = LIF(4)
        windows = AdaptiveWindows(neuron, **NOW)
        x = (0.5 + torch.randn(4, 8, 10)).to(dtype).requires_grad_()
        neuron(x).sum().backward()
        windows.step()
        assert windows.kept == {}
        assert neuron.window.dtype == torch.float32
        assert all(window in candidates() for window in neuron.window.tolist())


def test_training_with_it_learns():
    torch.manual_seed(0)
    net = Net(Plan()).float()
    windows = AdaptiveWindows(net, every=5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    x, y = batch(4, size=16)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = net.loss(x.float(), y)
        loss.backward()
        optimizer.step()
        windows.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert {row["iteration"] for row in windows.history} == {5, 10, 15, 20, 25, 30, 35}


def test_public_names():
    assert a2sg.AdaptiveWindows is AdaptiveWindows
    assert isinstance(LIF(1), a2sg.window.Site)
