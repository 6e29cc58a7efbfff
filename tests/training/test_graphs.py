"""Steps as graphs: what is recorded, replayed and left as it is, and that nothing else changes.

Recorders that do again what they recorded stand in for CUDA.
"""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.broken import letting_through
from a2sg.study.measure.probe import LayerProbe, Look
from a2sg.training import graphs, task
from a2sg.training.graphs import WARM_UP, GraphedStep, obstacle, wanted
from a2sg.training.recipe import load_recipe
from a2sg.training.recorder import CudaRecorder
from a2sg.training.run import train
from a2sg.window.site import sites_of
from card import Card
from recorder import CallingRecorder, RepeatingRecorder
from saved import metrics, timeless


def network():
    """Convolution, batch norm, neurons and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        a2sg.models.create_model(
            "vgg_small", num_classes=6, steps=3, in_channels=1, image_size=8, width=1 / 8
        ),
        nn.Dropout(0.3),
    )


def batches(count, size=4):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 1, 8, 8, generator=generator),
            torch.randint(6, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def compute_with(model):
    def compute(images, labels):
        logits = model(images)
        return logits, F.cross_entropy(logits.mean(0), labels)

    return compute


def trained(step, model, given, *, accumulate=1, every=4, scale=1.0, set_to_none=True, **options):
    """Losses, outputs, and everything the model has after training by `step`; seeded."""
    torch.manual_seed(7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    windows = a2sg.AdaptiveWindows(model, every=every, start=every, **options)
    seen = []
    for number, batch in enumerate(given):
        if number % accumulate == 0:
            optimizer.zero_grad(set_to_none=set_to_none)
        output, loss = step(*batch)
        seen += [output.detach().clone(), loss.detach().clone()]
        (loss * scale / accumulate).backward()
        if number % accumulate == accumulate - 1:
            for parameter in model.parameters():
                parameter.grad /= scale
            optimizer.step()
            windows.step()
    return [*seen, *model.state_dict().values()], windows


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ({}, 2 + 2),  # forward and backward, of an ordinary and of an observed step
        ({"accumulate": 3}, 2),  # too few observed steps
        ({"scale": 1024.0}, 2 + 2),
        ({"set_to_none": False}, 2 + 2),
        ({"accumulate": 2, "every": 1}, 2),  # too few ordinary steps
        ({"every": 1}, 2),
        ({"every": 3}, 2 + 2),
        ({"every": 2, "accumulate": 2}, 2 + 2),
        ({"every": 2, "batches": 2, "search": "grid", "candidates": 5}, 2),
        ({"every": 3, "gradient": "full"}, 2 + 2),
        ({"every": 2, "smoothing": 0.5, "spatial_steps": "all"}, 2 + 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [CallingRecorder, RepeatingRecorder])
def test_training_is_the_same_to_the_bit(options, recorded, kind):
    given = batches(18)
    plain = network()
    with letting_through():  # else a check reads values
        expected, searched = trained(compute_with(plain), plain, given, **options)
        model, recorder = network(), kind()
        found, windows = trained(GraphedStep(model, compute_with(model), recorder), model, given, **options)
    assert windows.history
    assert windows.history == searched.history
    assert recorder.recorded == recorded
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_which_calls_are_recorded_replayed_and_left():
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder)
    replays = []
    for batch in [*batches(WARM_UP + 3), *batches(1, size=3), *batches(2)]:
        before = recorder.replayed
        step(*batch)[1].backward()
        replays.append(recorder.replayed - before)
    assert replays == [0] * WARM_UP + [2, 2, 2, 0, 2, 2]  # forward and backward; a smaller batch as it is
    assert recorder.recorded == 2


def test_observed_iterations_have_graphs_of_their_own():
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=1)
    windows = a2sg.AdaptiveWindows(model, every=2, start=1)
    replays = []
    for batch in batches(7):
        before = recorder.replayed
        step(*batch)[1].backward()
        replays.append(recorder.replayed - before)
        windows.step()
    assert replays == [0, 0, 2, 2, 2, 2, 2], "the first of each runs as it is"
    assert recorder.recorded == 4
    assert len({row["iteration"] for row in windows.history}) == 3


@pytest.mark.parametrize("change", ["another search", "fewer layers", "nothing"])
def test_another_search_is_recorded_anew(change):
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=0)
    a2sg.AdaptiveWindows(model, every=1, start=0)
    given = batches(2)
    step(*given[0])
    if change == "another search":
        a2sg.AdaptiveWindows(model, every=1, start=0)
    elif change == "fewer layers":
        next(site for site in model.modules() if isinstance(site, a2sg.LIF)).observer = None
    step(*given[1])
    assert recorder.recorded == (2 if change == "nothing" else 4)


@pytest.mark.parametrize("reason", ["lengths", "a probe", "a stranger"])
def test_what_cannot_be_repeated_is_left(reason):
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=0)
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    site = next(iter(windows.sites.values()))
    seen = []
    if reason == "lengths":
        windows.lengths = torch.full((4,), 3)
    elif reason == "a probe":
        site.observer = LayerProbe(site, Look.evenly(1.0, 3, []), seen)
    else:
        site.observer = Stranger(seen)
    for batch in batches(2):
        step(*batch)[1].backward()
        seen.append("an iteration")
    assert recorder.recorded == 0
    if reason == "a stranger":
        assert seen == ["a pass", "an iteration"] * 2


class Stranger:
    """A watcher that keeps what it sees on the host."""

    gradient = "spike"

    def __init__(self, seen):
        self.seen = seen

    def watch(self, gate, window, fill):
        return lambda steps: self.seen.append("a pass")


@pytest.mark.parametrize("kind", [CallingRecorder, RepeatingRecorder])
def test_a_searched_shape_is_recorded_anew_and_nothing_else_changes(kind):
    options = {"every": 2, "biases": 3, "spatial": "std", "candidates": 8}
    given = batches(16)
    plain, model, recorder = network(), network(), kind()
    for site in [*sites_of(plain).values(), *sites_of(model).values()]:
        site.surrogate = a2sg.surrogate.Asymmetric(bias=0.5)
    with letting_through():
        expected, searched = trained(compute_with(plain), plain, given, **options)
        step = GraphedStep(model, compute_with(model), recorder, after=0)
        found, windows = trained(step, model, given, **options)
    assert any(row["bias"] != 0.5 for row in windows.history)
    assert windows.history == searched.history
    assert recorder.recorded > 4
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


class Loop(nn.Module):
    """One step at a time, with a `SpikeSite`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.site, self.last = nn.Linear(6, 20), a2sg.SpikeSite(3), nn.Linear(20, 6)

    def forward(self, x):
        potential, found = 0, []
        self.site.begin()
        for _ in range(3):
            potential = 0.9 * potential + self.first(x)
            spikes = self.site(potential - 1)
            potential = potential * (1 - spikes)
            found.append(self.last(spikes))
        return torch.stack(found)


@pytest.mark.parametrize("every", [2, 5])
def test_windows_that_the_host_reads_are_never_old_ones(every):
    """A `SpikeSite` passes its windows as numbers: a graph would repeat those of its recording."""
    given = [(images.flatten(1)[:, :6], labels) for images, labels in batches(30)]
    plain, model, recorder = Loop(), Loop(), RepeatingRecorder()
    options = {"every": every, "search": "grid", "candidates": 9}
    with letting_through():
        expected, searched = trained(compute_with(plain), plain, given, **options)
        found, windows = trained(GraphedStep(model, compute_with(model), recorder), model, given, **options)
    assert len({row["window"] for row in windows.history}) > 1
    assert windows.history == searched.history
    assert bool(recorder.replayed) == (every > WARM_UP)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", [CallingRecorder, RepeatingRecorder])
def test_cpng_is_repeated_too(kind):
    def run(step, model):
        policy = a2sg.baselines.CPNG(model, every=2, start=0)
        with letting_through():
            for batch in batches(8):
                step(*batch)[1].backward()
                policy.step()
        return policy.history

    plain, model, recorder = network(), network(), kind()
    expected = run(compute_with(plain), plain)
    assert run(GraphedStep(model, compute_with(model), recorder, after=1), model) == expected
    assert recorder.recorded == 4


@pytest.mark.parametrize("kind", [CallingRecorder, RepeatingRecorder])
def test_a_guarded_step_is_skipped_as_without_graphs(kind):
    """An observed step with a broken sample: the search keeps its windows, and the next ones go on."""

    def run(step, model):
        torch.manual_seed(7)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        windows = a2sg.AdaptiveWindows(model, every=2, start=1)
        guard = a2sg.StepGuard(model, windows)
        for number, (images, labels) in enumerate(batches(14)):
            optimizer.zero_grad()
            with guard:
                _, loss = step(images * (torch.nan if number in (4, 9) else 1), labels)
            loss.backward()
            guard.check(optimizer, loss)
            optimizer.step()
            windows.step()
        return guard.skipped, windows.kept, windows.history, model.state_dict()

    plain, model, recorder = network(), network(), kind()
    *expected, theirs = run(compute_with(plain), plain)
    *found, mine = run(GraphedStep(model, compute_with(model), recorder), model)
    assert str(found) == str(expected)  # NaN is equal to itself as text
    assert found[0] == 2
    assert found[1]["not finite"] > 0
    assert recorder.recorded == 4
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_an_observed_step_that_cannot_be_recorded_leaves_the_ordinary_ones(caplog):
    class Picky(CallingRecorder):
        def record(self, work):
            if windows.observing:
                self.error = RuntimeError("a layer reads a value")
            return super().record(work)

    model, recorder = network(), Picky()
    step = GraphedStep(model, compute_with(model), recorder, after=0)
    windows = a2sg.AdaptiveWindows(model, every=2, start=1)
    replays = []
    for batch in batches(4):
        before = recorder.replayed
        step(*batch)[1].backward()
        replays.append(recorder.replayed - before)
        windows.step()
    assert replays == [2, 0, 2, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "observed steps run without CUDA graphs: RuntimeError: a layer reads a value"
    ]


def test_a_new_window_needs_no_new_graph():
    """A search sets windows where they lie, so a graph that reads them there sees the new ones."""
    model = network()
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    before = {name: (site.window.data_ptr(), site.window.clone()) for name, site in windows.sites.items()}
    compute_with(model)(*batches(1)[0])[1].backward()
    windows.step()
    assert {name: site.window.data_ptr() for name, site in windows.sites.items()} == {
        name: place for name, (place, _) in before.items()
    }
    assert any(not torch.equal(windows.sites[name].window, old) for name, (_, old) in before.items())


def test_another_shape_of_the_surrogate_is_recorded_anew():
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=1)
    given = batches(6)
    for batch in given[:3]:
        step(*batch)
    for module in model.modules():
        if isinstance(module, a2sg.LIF):
            module.surrogate = a2sg.surrogate.Triangle()
    for batch in given[3:]:
        step(*batch)
    assert recorder.recorded == 4


def test_a_parameter_that_lies_elsewhere_is_noticed():
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=1)
    given = batches(4)
    for batch in given[:2]:
        step(*batch)
    first = next(model.parameters())
    first.data = first.data.clone()
    replayed = recorder.replayed
    step(*given[2])
    assert recorder.replayed == replayed


def test_recording_leaves_statistics_sums_and_random_numbers_as_they_were():
    model = network()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    following = torch.rand(3)
    torch.manual_seed(5)
    step = GraphedStep(model, compute_with(model), CallingRecorder(), after=0)
    inputs = batches(1)[0]
    windows = a2sg.AdaptiveWindows(model, every=1, start=0)
    compute_with(model)(*inputs)[1].backward()  # a micro-batch before: its sums stay
    model.zero_grad()
    model.load_state_dict(before)
    sums = windows.store.flat.clone()
    assert sums.any()
    torch.manual_seed(5)
    step._recorded(step._observed, inputs, ())
    assert torch.equal(windows.store.flat, sums)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.rand(3), following)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_results_that_are_kept_do_not_change_with_the_next_call():
    model = network()
    step = GraphedStep(model, compute_with(model), CallingRecorder(), after=0)
    first, second = batches(2)
    held = step(*first)
    before = [result.detach().clone() for result in held]
    step(*second)
    assert all(torch.equal(result, old) for result, old in zip(held, before, strict=True))


def test_unused_parameters_have_no_gradient():
    model = network()
    model.register_parameter("spare", nn.Parameter(torch.ones(2)))
    step = GraphedStep(model, compute_with(model), CallingRecorder(), after=0)
    step(*batches(1)[0])[1].backward()
    assert model.spare.grad is None


def test_what_cannot_be_recorded_is_told_once_and_runs_as_before(caplog):
    model = network()
    before = copy.deepcopy(model.state_dict())
    step = GraphedStep(
        model, compute_with(model), CallingRecorder(RuntimeError("not permitted\nwhen capturing")), after=0
    )
    torch.manual_seed(0)
    found = step(*batches(1)[0])
    step(*batches(1)[0])
    assert [record.getMessage() for record in caplog.records] == [
        "steps run without CUDA graphs: RuntimeError: not permitted"
    ]
    plain = network()
    plain.load_state_dict(before)
    torch.manual_seed(0)
    for mine, theirs in zip(found, compute_with(plain)(*batches(1)[0]), strict=True):
        assert torch.equal(mine, theirs)


def test_every_kind_may_be_recorded_anew_on_a_card(monkeypatch, caplog):
    """torch takes no graph into a pool whose last graph is gone: as where CutMix ends, without a search."""
    model, card = network(), Card(monkeypatch)
    step = GraphedStep(model, compute_with(model), CudaRecorder(), after=0)
    for size in (4, 3, 4):
        for batch in batches(2, size):
            step(*batch)[1].backward()
    assert not caplog.records
    assert card.replays == 12


def test_a_recording_that_is_broken_off_harms_no_other_one_on_a_card(monkeypatch, caplog):
    model, card = network(), Card(monkeypatch)

    def compute(images, labels):
        if windows.observing and card.capturing:
            raise RuntimeError("not permitted when stream is capturing")
        return compute_with(model)(images, labels)

    windows = a2sg.AdaptiveWindows(model, every=2, start=1)
    step = GraphedStep(model, compute, CudaRecorder(), after=0)
    for batch in batches(4):
        step(*batch)[1].backward()
        windows.step()
    assert card.replays == 4
    assert not card.capturing
    assert [record.getMessage() for record in caplog.records] == [
        "observed steps run without CUDA graphs: RuntimeError: not permitted when stream is capturing"
    ]


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "spare", "replays", "told"),
    [
        (21, True, 0, True),  # 10 for a graph and 12 for other steps, of which a part is reserved already
        (23, True, 4, False),
        (21, False, 4, False),
    ],
)
def test_steps_without_a_graph_keep_room_on_a_card(monkeypatch, caplog, free, spare, replays, told):
    model, card = network(), Card(monkeypatch)
    memory = {"max_memory_allocated": 15, "memory_allocated": 5, "memory_reserved": 15}
    for name, gib in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda gib=gib: gib * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: ((free - 10) * GIB, 80 * GIB))
    step = GraphedStep(model, compute_with(model), CudaRecorder(spare=spare), after=0)
    for batch in batches(2):
        step(*batch)[1].backward()
    assert card.replays == replays
    assert [record.getMessage() for record in caplog.records] == told * [
        "steps run without CUDA graphs: MemoryError: a graph keeps the 10.0 GB of a step, and other steps "
        "need as much again, but 21.0 GB are free; graphs: on records all the same"
    ]


def test_nothing_of_the_pass_before_is_alive_while_a_graph_is_recorded():
    """Its leaves would have their nodes on another stream, and their gradients on both."""

    class Watching(CallingRecorder):
        def record(self, work):
            alive.append(sum(ref() is not None for ref in losses))
            return super().record(work)

    model, losses, alive = network(), [], []

    def compute(images, labels):
        logits, loss = compute_with(model)(images, labels)
        losses.append(weakref.ref(loss))
        return logits, loss

    GraphedStep(model, compute, Watching(), after=0)(*batches(1)[0])
    assert alive == [0, 1], "of the forward graph, when the backward one is recorded"


def test_mixed_precision_is_that_of_the_surroundings():
    model = network()
    step = GraphedStep(model, compute_with(model), CallingRecorder(), after=0)
    (batch,) = batches(1)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = step(*batch)
    found[1].backward()
    plain = network()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        expected = compute_with(plain)(*batch)
    expected[1].backward()
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, ""),
        ({"regularizers": True}, "potentials"),
        ({"ranks": 2}, "ranks"),
    ],
)
def test_what_speaks_against_graphs(options, reason):
    found = obstacle(torch.device("cuda"), **options)
    assert reason in found
    assert bool(found) == bool(reason)
    assert wanted("auto", found) == (not reason)
    assert not wanted("off", found)
    if reason:
        with pytest.raises(InputError, match=f"graphs: on is not possible: .*{reason}.*choose auto or off"):
            wanted("on", found)
    else:
        assert wanted("on", found)


def test_graphs_are_refused_on_a_cpu_before_anything_is_written(tmp_path):
    config = load_recipe("digits", {"epochs": 1, "device": "cpu", "graphs": "on"})
    with pytest.raises(InputError, match="they need a CUDA device, and this one is cpu"):
        train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("precision", "memory"), [("32", "plain"), ("bf16", "packed")])
def test_a_run_is_the_same_with_graphs(tmp_path, monkeypatch, precision, memory):
    """Micro-batches, a smaller last batch, gradients cut, observed iterations, evaluation."""
    options = {"epochs": 2, "device": "cpu", "precision": precision, "accumulate": 2}
    options |= {"windows.every": 5, "data.batch_size": 100, "optimizer.clip_norm": 1.0}
    options |= {"model.options.width": 0.25}
    config = load_recipe("digits", options)
    expected = train(config, tmp_path / "plain", quiet=True)
    config.memory = memory
    recorders = []

    def recorder(*, spare):
        assert spare
        recorders.append(CallingRecorder())
        return recorders[-1]

    monkeypatch.setattr(graphs, "obstacle", lambda *_, **__: "")
    monkeypatch.setattr(task, "obstacle", lambda *_, **__: "")
    monkeypatch.setattr(task, "CudaRecorder", recorder)
    found = train(config, tmp_path / "graphs", quiet=True)
    assert recorders[0].recorded == 2
    assert recorders[0].replayed > 20
    assert timeless(found) == timeless(expected)
    assert metrics(tmp_path / "graphs") == metrics(tmp_path / "plain")
