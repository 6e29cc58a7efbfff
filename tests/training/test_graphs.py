"""Steps as graphs: what is recorded, replayed and left as it is, and that nothing else changes.

A recorder that calls again what it recorded stands in for CUDA.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.training import graphs, task
from a2sg.training.graphs import WARM_UP, GraphedStep, obstacle, wanted
from a2sg.training.recipe import load_recipe
from a2sg.training.run import train
from recorder import CallingRecorder
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


def trained(step, model, given, *, accumulate=1, every=4, scale=1.0, set_to_none=True):
    """Losses, outputs, and everything the model has after training by `step`; seeded."""
    torch.manual_seed(7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    windows = a2sg.AdaptiveWindows(model, every=every, start=every)
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
    "options",
    [{}, {"accumulate": 3}, {"scale": 1024.0}, {"set_to_none": False}, {"accumulate": 2, "every": 1}],
    ids=str,
)
def test_training_is_the_same_to_the_bit(options):
    given = batches(18)
    plain = network()
    expected, _ = trained(compute_with(plain), plain, given, **options)
    model, recorder = network(), CallingRecorder()
    found, windows = trained(GraphedStep(model, compute_with(model), recorder), model, given, **options)
    assert windows.history
    assert recorder.recorded == (0 if options.get("every") == 1 and options["accumulate"] == 2 else 2)
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


def test_observed_iterations_are_left_and_none_is_recorded():
    model, recorder = network(), CallingRecorder()
    step = GraphedStep(model, compute_with(model), recorder, after=0)
    windows = a2sg.AdaptiveWindows(model, every=2, start=1)
    replays = []
    for batch in batches(5):
        before = recorder.replayed
        step(*batch)[1].backward()
        replays.append(recorder.replayed - before)
        windows.step()
    assert replays == [2, 0, 2, 0, 2]
    assert recorder.recorded == 2
    assert len({row["iteration"] for row in windows.history}) == 2


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


def test_recording_leaves_statistics_and_random_numbers_as_they_were():
    model = network()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    following = torch.rand(3)
    torch.manual_seed(5)
    step = GraphedStep(model, compute_with(model), CallingRecorder(), after=0)
    inputs = batches(1)[0]
    step._recorded(step.recorder, inputs, ())
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
        with pytest.raises(InputError, match=f"graphs: on cannot be had: .*{reason}.*choose auto or off"):
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
    config = load_recipe("digits", options)
    expected = train(config, tmp_path / "plain", quiet=True)
    config.memory = memory
    recorders = []

    def recorder():
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
