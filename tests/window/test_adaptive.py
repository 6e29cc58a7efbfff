"""`AdaptiveWindows` against a replica of the network in which every candidate is tried by hand."""

import copy
from itertools import pairwise

import pytest
import torch

import a2sg
import reference
from a2sg import LIF, AdaptiveWindows
from a2sg.errors import InputError
from a2sg.surrogate import Asymmetric
from networks import NOW, Net, Plan, Replica, batch, candidates, lists, observe
from reference import BY_NAME

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
    "bias",
    "cv",
    "norm",
    "sparsity",
    "gain",
]

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
        behind = dict(pairwise(replica.steps))
        for row in rows:
            step = replica.steps[row["layer"]][row["step"] - 1]
            last = row["step"] == plan.steps
            assert list(row) == COLUMNS
            assert row["iteration"] == iteration
            assert row["kept"] == ""
            assert row["window"] == expected[row["layer"]][row["step"] - 1]
            assert row["window_before"] == before[row["layer"]][row["step"] - 1]
            for suffix in ("", "_before"):
                delta = step.delta(row["window" + suffix])
                if suffix:
                    deviation = delta.std(correction=0).item()
                    assert row["norm"] == pytest.approx(delta.norm().item(), rel=1e-9)
                    if after := behind.get(row["layer"]):
                        of_it = replica.steps[after][row["step"] - 1].delta(before[after][row["step"] - 1])
                        assert row["gain"] == pytest.approx((delta.norm() / of_it.norm()).item(), rel=1e-9)
                    else:
                        assert row["gain"] is None
                    assert row["cv"] == pytest.approx(deviation / abs(delta.mean().item()), rel=1e-6)
                    assert row["sparsity"] == pytest.approx((delta == 0).double().mean().item(), abs=1e-12)
                assert row["sgv" + suffix] == pytest.approx(reference.sgv(delta), rel=1e-6)
                if last:
                    assert row["tgc" + suffix] is None
                else:
                    tgc = reference.tgc(delta, step.later)
                    assert row["tgc" + suffix] == pytest.approx(tgc, rel=1e-6, abs=1e-9)
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
        assert (a["tgc"] is None) == (b["tgc"] is None) == (a["step"] == 4 or a["kept"] == "all zero")
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
        ({"every": None}, [0]),
        ({"every": None, "start": 4}, [4]),
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


def test_with_batches_a_row_of_iterations_is_observed_for_one_search():
    net = Net(Plan(steps=2))
    windows = AdaptiveWindows(net, every=4, start=1, batches=3, candidates=5)
    x, y = batch(2)
    seen, done = [], []
    for iteration in range(12):
        if windows.observing:
            seen.append(iteration)
        before = lists(net)
        net.loss(x, y).backward()
        assert lists(net) == before
        if windows.step():
            done.append(iteration)
    assert seen == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert done == [3, 7, 11]
    assert sorted({row["iteration"] for row in windows.history}) == done


def test_one_search_may_take_any_number_of_batches():
    net = Net(Plan(steps=2))
    windows = AdaptiveWindows(net, every=None, batches=3, candidates=5)
    x, y = batch(2)
    done = []
    for iteration in range(8):
        assert windows.observing == (iteration < 3)
        net.loss(x, y).backward()
        if windows.step():
            done.append(iteration)
    assert done == [2]


@pytest.mark.parametrize("search", ["exact", "grid", "bayes"])
def test_batches_of_one_search_add_up_as_micro_batches_do(search):
    rows = []
    for steps_between in (True, False):
        net = Net(Plan())
        windows = AdaptiveWindows(net, every=3, start=0, batches=3 if steps_between else 1, search=search)
        for seed in range(3):
            net.loss(*batch(4, seed=seed)).backward()
            if steps_between:
                windows.step()
        if not steps_between:
            windows.step()
        rows.append([{**row, "iteration": 0} for row in windows.history])
    assert rows[0] == rows[1]
    assert any(row["window"] != row["window_before"] for row in rows[0])


def test_a_state_saved_between_the_batches_of_a_search_goes_on():
    found = []
    for interrupted in (False, True):
        net = Net(Plan())
        options = {"every": 2, "start": 0, "batches": 2, "candidates": 11}
        windows = AdaptiveWindows(net, **options)
        net.loss(*batch(4, seed=0)).backward()
        windows.step()
        if interrupted:
            state = windows.state_dict()
            windows.detach()
            windows = AdaptiveWindows(net, **options)
            windows.load_state_dict(state)
        net.loss(*batch(4, seed=1)).backward()
        assert windows.step()
        found.append(lists(net))
    assert found[0] == found[1]


@pytest.mark.parametrize("batches", [0, 5, 1.5])
def test_batches_out_of_range_are_told(batches):
    with pytest.raises(InputError, match="batches must be"):
        AdaptiveWindows(LIF(2), every=4, batches=batches)


def test_the_first_search_of_the_paper_is_at_iteration_500():
    windows = AdaptiveWindows(LIF(1))
    assert windows.every == windows.start == 500


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_history_of_a_model_in_half_precision_tells_its_windows(dtype):
    torch.manual_seed(0)
    neuron = LIF(4).to(dtype)
    windows = AdaptiveWindows(neuron, **NOW)
    x = (0.5 + torch.randn(4, 8, 10)).to(dtype).requires_grad_()
    for _ in range(2):
        neuron(x).sum().backward()
        windows.step()
    assert neuron.window.dtype == dtype
    before, after = windows.history[:4], windows.history[4:]
    assert [row["window"] for row in after] == neuron.window.tolist()
    assert [row["window"] for row in before] == [row["window_before"] for row in after]


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


@pytest.mark.parametrize("shape", ["asymmetric", "triangle", "boxcar"])
def test_a_window_that_lets_nothing_through_has_the_largest_tgc_of_the_full_gradient(shape):
    """The leak's carry is a multiple of the next step's gradient: alone it has a cosine of 1 with it."""
    net = Net(Plan(shape=shape))
    windows = AdaptiveWindows(net, **NOW, low=1e-9, candidates=2, gradient="full")
    observe(net, windows, *batch(4))
    for row in windows.history:
        if row["tgc"] is not None:
            assert row["tgc"] == pytest.approx(1)
            assert row["window"] == pytest.approx(1e-9)
            assert row["tgc_before"] < 0.999
