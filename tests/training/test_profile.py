"""a2sg train --profile: phases that add up, kinds of work that are the network's, and what they say."""

import csv
import json
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent

from a2sg import cli
from a2sg.data.sets import ArrayImages
from a2sg.errors import InputError
from a2sg.kernels import backends
from a2sg.neuron import SpikingNeuron
from a2sg.training import phases as phases_module
from a2sg.training.build import build_data
from a2sg.training.kinds import COPIES, IDLE, PYTHON, REST, work
from a2sg.training.phases import (
    AUGMENTATION,
    BACKWARD,
    FORWARD,
    OPTIMIZER,
    OTHER,
    PHASES,
    SEARCH,
    SUMS,
    TRANSFER,
    WAITING,
    PhaseProfiler,
)
from a2sg.training.profile import _compile_early, _observed_every, profile
from a2sg.training.profile_report import shares, verdict
from a2sg.training.recipe import load_recipe, read_config
from a2sg.training.run import train
from a2sg.training.task import SpikingTask


def quick(**overrides):
    return load_recipe("digits", {"epochs": 1, "data.batch_size": 16, "windows.every": 50, **overrides})


def by_name(rows):
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("profile") / "run"
    return out, profile(quick(), out, iterations=8)


def test_all_files_are_there_and_agree(found):
    out, content = found
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "config.yaml",
        "profile.json",
        "profile.csv",
        "profile.png",
        "trace.json",
    }
    assert json.loads((out / "profile.json").read_text(encoding="utf-8")) == content
    assert read_config(out / "config.yaml") == quick()
    assert (out / "profile.png").read_bytes().startswith(b"\x89PNG")
    with (out / "profile.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [row["name"] for row in content["phases"] + content["kinds"]]
    assert [float(row["share"]) for row in rows if row["table"] == "phase"] == [
        row["share"] for row in content["phases"]
    ]
    names = {
        event.get("name")
        for event in json.loads((out / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    }
    assert {"iteration 14", "iteration 15", "iteration 16", "iteration 17, observed", *PHASES[:-1]} <= names


def test_phases_and_kinds_add_up(found):
    _, content = found
    assert content["iterations"] == {"warm_up": 6, "timed": 8, "observed": 2, "traced": 4}
    assert tuple(by_name(content["phases"])) == PHASES
    for rows in (content["phases"], content["kinds"]):
        assert sum(row["share"] for row in rows) == pytest.approx(1)
    for kind in ("ordinary", "observed"):
        assert content[f"{kind}_ms"] == pytest.approx(sum(row[f"{kind}_ms"] for row in content["phases"]))
    mixed = content["ordinary_ms"] * 49 / 50 + content["observed_ms"] / 50
    assert content["images_per_second"] == pytest.approx(16 / (mixed / 1000))
    backward = by_name(content["phases"])[BACKWARD]
    part = (49 * backward["ordinary_ms"] + backward["observed_ms"]) / 50
    assert backward["share"] == pytest.approx(part / mixed)


def test_only_observed_iterations_have_sums(found):
    _, content = found
    for rows in (content["phases"], content["kinds"]):
        sums = by_name(rows)[SUMS]
        assert sums["ordinary_ms"] == 0
        assert sums["observed_ms"] > 0
    assert content["observed_to_ordinary"] == pytest.approx(content["observed_ms"] / content["ordinary_ms"])


def test_kinds_are_the_networks(found):
    _, content = found
    model = SpikingTask(quick(), build_data(quick())).model
    count = {kind: sum(isinstance(m, kind) for m in model.modules()) for kind in (nn.Conv2d, SpikingNeuron)}
    kinds = by_name(content["kinds"])
    for phase in (FORWARD, BACKWARD):
        for kind, layer in (("convolution", nn.Conv2d), ("neurons", SpikingNeuron)):
            row = kinds[f"{kind}, {phase}"]
            assert row["ordinary_calls"] == row["observed_calls"] == count[layer]
            assert row["ordinary_ms"] > 0
    assert kinds[SUMS]["observed_calls"] == count[SpikingNeuron]  # all steps of each at once

    outputs = []
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_hook(lambda module, inputs, output: outputs.append(output.numel()))
    model(torch.zeros(3, 1, 8, 8))
    assert content["neurons"] * 4 * 3 == sum(outputs)
    assert content["neuron_updates_per_iteration"] * 3 == sum(outputs) * 16


def test_the_profiled_run_can_be_trained_in_its_folder(found, tmp_path):
    out, _ = found
    shutil.copytree(out, tmp_path / "run")
    assert train(quick(), tmp_path / "run", resume=True, quiet=True)["epochs"] == 1


def test_a_slow_data_set_shows_as_waiting(tmp_path, monkeypatch, capsys):
    original = ArrayImages.__getitems__

    def slow(self, indices):
        time.sleep(0.15)
        return original(self, indices)

    monkeypatch.setattr(ArrayImages, "__getitems__", slow)
    words = ["--profile", "4", "--out", str(tmp_path / "run"), "--model.name", "mlp_small"]
    words += ["--data.resident", "false"]
    assert cli.main(["train", "digits", "--data.batch_size", "16", *words, "--model.options", "{}"]) == 0
    out = capsys.readouterr().out
    content = json.loads((tmp_path / "run" / "profile.json").read_text(encoding="utf-8"))
    share = by_name(content["phases"])[WAITING]["share"]
    assert share > 0.5
    assert by_name(content["kinds"])[WAITING]["share"] > 0.5
    assert content["verdict"].endswith("of the time goes to waiting for data: raise data.workers (now 0)")
    assert content["verdict"] in out
    assert str(tmp_path / "run") in out.replace("\n", "")


def test_every_iteration_bears_its_share_of_what_is_augmented_at_once(tmp_path):
    small = {"model.name": "mlp_small", "model.options": {}, "augment.erasing": 0.5}
    content = profile(quick(**small), tmp_path / "run", iterations=8)
    row = by_name(content["phases"])[AUGMENTATION]
    assert row["ordinary_ms"] == pytest.approx(row["observed_ms"])
    assert row["ordinary_ms"] > 0


def test_micro_batches_are_one_iteration(tmp_path):
    config = quick(accumulate=3, **{"model.name": "mlp_small", "model.options": {}})
    content = profile(config, tmp_path / "run", iterations=4)
    assert content["iterations"]["timed"] == 4
    assert content["iterations"]["observed"] == 1
    assert content["images_per_iteration"] == 3 * 16
    kinds = by_name(content["kinds"])
    neurons = sum(
        isinstance(m, SpikingNeuron) for m in SpikingTask(config, build_data(config)).model.modules()
    )
    assert kinds["neurons, backward"]["ordinary_calls"] == 3 * neurons
    assert kinds[WAITING]["ordinary_calls"] == 3


def test_phases_are_timed_without_overlap(monkeypatch):
    """Every action lasts as many seconds as are written beside it, its inner ones not counted."""
    clock = 0.0
    monkeypatch.setattr(phases_module.time, "perf_counter", lambda: clock)
    windows = SimpleNamespace(iteration=0, observing=False, observers={})
    phases = PhaseProfiler(windows, torch.device("cpu"), first=1, trace_from=99)

    def spend(name, seconds, *inner):
        nonlocal clock
        with phases.profile(name):
            clock += seconds
            for each in inner:
                spend(*each)

    def micro_batch(step):
        spend("[_TrainingEpochLoop].train_dataloader_next", 1)
        spend(
            "[Strategy]SingleDeviceStrategy.batch_to_device",
            2,
            (AUGMENTATION, 4),
        )
        spend("[Callback]SampleCount.on_train_batch_start", 8)
        phases.saw(7)
        backward = ("[Strategy]SingleDeviceStrategy.backward", 32, (SUMS, 64), ("[Callback]A.on_after", 1))
        closure = [("[Strategy]SingleDeviceStrategy.training_step", 16), backward]
        if step:
            spend("[LightningModule]SpikingTask.optimizer_step", 128, *closure)
        else:
            spend("run_training_batch", 256, *closure)
        spend("[Callback]SampleCount.on_train_batch_end", 512)
        spend("[LightningModule]SpikingTask.on_train_batch_end", 1024)

    for epoch in range(2):
        clock += 1e6  # between epochs
        with phases.profile("run_training_epoch"):
            for iteration in range(2):
                windows.iteration, windows.observing = 2 * epoch + iteration, iteration == 1
                micro_batch(step=False)
                micro_batch(step=True)
                windows.iteration += 1
    phases.close()
    assert [each.number for each in phases.timed] == [1, 2, 3]
    assert [each.observed for each in phases.timed] == [True, False, True]
    for each in phases.timed:
        assert each.images == 14
        assert each.seconds() == {
            WAITING: 2,
            TRANSFER: 4,
            AUGMENTATION: 8,
            FORWARD: 32,
            BACKWARD: 66,
            SUMS: 128,
            OPTIMIZER: 128,
            SEARCH: 2048,
            OTHER: 2 * 8 + 256 + 2 * 512,
        }


def event(name, start, end, *parts, kernel=0, thread=1):
    """An event of the host, in microseconds; its kernel lasts `kernel`."""
    made = FunctionEvent(id=0, name=name, thread=thread, start_us=start, end_us=end)
    for part in parts:
        made.append_cpu_child(part)
        part.set_cpu_parent(made)
    if kernel:
        made.append_kernel("kernel", 0, kernel)
    return made


def flat(root):
    return [root, *(each for part in root.cpu_children for each in flat(part))]


def recorded():
    """One observed iteration of 1,000 µs; what happens in the backward pass's thread."""
    convolution = event("aten::conv2d", 110, 200, event("aten::copy_", 120, 130, kernel=8), kernel=50)
    neuron = event("_IntegrateAndFire", 200, 290, event("aten::mul", 210, 230, kernel=30))
    forward = event(FORWARD, 100, 300, convolution, neuron, event("aten::clone", 290, 295, kernel=3))
    sums = event(SUMS, 420, 460, event("aten::mm", 430, 440, kernel=11))
    norm = event("aten::native_batch_norm_backward", 460, 480, kernel=20)
    back = event(
        "autograd::engine::evaluate_function: _IntegrateAndFireBackward",
        405,
        490,
        event("_IntegrateAndFireBackward", 410, 490, sums, norm, kernel=40),
    )
    add = event("autograd::engine::evaluate_function: AddBackward0", 490, 495, kernel=1)
    return forward, [back, add]


def test_work_is_told_apart_by_names():
    forward, engine = recorded()
    optimizer = event(OPTIMIZER, 600, 700, event("aten::addmm", 610, 650))
    backward = event(BACKWARD, 400, 500, *engine)
    root = event("iteration 3, observed", 0, 1000, forward, backward, optimizer)
    (found,) = work([*flat(root), event("aten::add", 2000, 3000)], cuda=False)
    assert found.observed
    microseconds = {kind: round(1e6 * seconds) for kind, seconds in found.seconds.items()}
    assert microseconds == {
        "convolution, forward": 90,
        "neurons, forward": 90,
        COPIES: 5,
        PYTHON: (200 - 185) + (100 - 90),
        "neurons, backward": 85 - 40 - 20,
        SUMS: 40,
        "batch norm, backward": 20,
        REST: 5,
        OPTIMIZER: 100,
        OTHER: 1000 - 200 - 100 - 100,
    }
    assert sum(microseconds.values()) == 1000
    for kind in ("convolution, forward", "neurons, backward", SUMS, OPTIMIZER):
        assert found.calls[kind] == 1, kind


def test_on_a_gpu_kernels_count_for_what_launched_them():
    forward, engine = recorded()
    for each in engine:
        for part in flat(each):
            part.thread = 2
    root = event("iteration 3", 0, 1000, forward, event(BACKWARD, 400, 500))
    other = event("aten::add", 300, 310, kernel=77, thread=3)  # of neither iteration nor backward pass
    later = event("iteration 4", 1000, 1500)
    last = event("autograd::engine::evaluate_function: AddmmBackward0", 1100, 1200, kernel=400, thread=2)
    tops = (root, *engine, other, later, last)
    found, after = work([each for top in tops for each in flat(top)], cuda=True)
    assert after.seconds == pytest.approx({"dense, backward": 400e-6, IDLE: 100e-6})
    assert not found.observed
    microseconds = {kind: round(1e6 * seconds) for kind, seconds in found.seconds.items()}
    busy = {
        "convolution, forward": 58,
        "neurons, forward": 30,
        COPIES: 3,
        "neurons, backward": 40,
        SUMS: 11,
        "batch norm, backward": 20,
        REST: 1,
    }
    assert microseconds == {**busy, IDLE: 1000 - sum(busy.values())}


def test_shares_are_those_of_the_run():
    rows = by_name(shares([{"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 1.0}], [{"a": 2.0, "b": 5.0}], 4, ("c",)))
    assert list(rows) == ["c", "a", "b"]
    # Three ordinary iterations of 2 and 1, and an observed one of 2 and 5: 8 of a, 8 of b.
    assert {name: row["share"] for name, row in rows.items()} == {"c": 0, "a": 0.5, "b": 0.5}
    assert rows["b"]["observed_ms"] == 5000


@pytest.mark.parametrize(
    ("every", "batches", "iterations"), [(500, 1, 500), (500, 10, 50), (None, 1, 21), (None, 3, 7)]
)
def test_how_rare_observed_iterations_are(every, batches, iterations):
    config = quick(
        **{
            "windows.every": every,
            "windows.batches": batches,
            "epochs": 3,
            "data.batch_size": 10,
            "accumulate": 2,
        }
    )
    assert _observed_every(config, 121) == iterations  # an epoch has 7: the last one has one sample


@pytest.mark.parametrize(
    ("phases", "kinds", "words"),
    [
        ({WAITING: 0.62}, {}, "62 % of the time goes to waiting for data: raise data.workers (now 0)"),
        (
            {SUMS: 0.2, SEARCH: 0.01, WAITING: 0.2},
            {},
            "21 % of the time goes to the search of windows",
        ),
        ({AUGMENTATION: 0.3}, {}, "30 % of the time goes to augmentation"),
        ({OPTIMIZER: 0.3}, {}, "raise data.batch_size (now 16)"),
        ({OTHER: 0.4}, {}, "40 % of the time goes to Lightning and metrics"),
        ({}, {PYTHON: 0.3}, "30 % of the time goes to Python between operations"),
        (
            {WAITING: 0.1},
            {PYTHON: 0.1, "neurons, forward": 0.6},
            "nothing sticks out; the largest part is neurons, forward, 60 %",
        ),
    ],
)
def test_the_verdict_names_what_sticks_out(phases, kinds, words):
    assert words in verdict(quick(), 0, {**dict.fromkeys(PHASES, 0.0), **phases}, kinds)


def test_a_slow_search_is_told_to_be_exact():
    text = verdict(quick(**{"windows.search": "grid"}), 0, {**dict.fromkeys(PHASES, 0.0), SUMS: 0.5}, {})
    assert text.endswith("the search of windows: set windows.search to exact (now grid)")


def test_more_workers_than_cores_are_not_advised():
    text = verdict(quick(), 4096, {**dict.fromkeys(PHASES, 0.0), WAITING: 0.5}, {})
    assert "make samples cheaper" in text


@pytest.mark.parametrize("epochs", [1, 10**6])
def test_neurons_are_compiled_in_the_warm_up_of_long_runs(monkeypatch, epochs):
    monkeypatch.setattr(backends, "missing", lambda device: "")
    task = SpikingTask(quick(epochs=epochs), build_data(quick()))
    _compile_early(task, 6272 * 4, torch.device("cpu"))
    chosen = {module.backend for module in task.model.modules() if isinstance(module, SpikingNeuron)}
    assert chosen == ({"auto"} if epochs == 1 else {"compiled"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--profile", "3"], "--profile must be a whole number of at least 4, not 3"),
        (["--profile", "digits"], "put the recipe before it"),
        (["digits", "--profile", "-5"], "--profile"),
        (["digits", "--profile", "--model.steps", "0"], "steps must be"),
        (["--resume", "nowhere", "--profile"], "only other options it takes"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("a2sg: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_a_full_folder_is_told(tmp_path):
    (tmp_path / "there").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty"):
        profile(quick(), tmp_path, iterations=4)
