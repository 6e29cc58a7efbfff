"""Run folders: the same seed gives the same numbers, also over an interruption."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from a2sg.data.shares import Shares
from a2sg.errors import InputError
from a2sg.memory import pack_spikes
from a2sg.training import run, task
from a2sg.training.build import build_data
from a2sg.training.checkpoints import CHECKPOINT, epoch_checkpoint, kept_epochs, read_checkpoint
from a2sg.training.folders import read_run_config
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, load_weights, train
from interruption import interrupted
from saved import metrics, timeless


def quick(**overrides):
    """Three epochs of the digits recipe on a quarter of its channels."""
    options = {"epochs": 3, "windows.every": 7, "data.batch_size": 128, "model.options.width": 0.25}
    return load_recipe("digits", options | overrides)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(quick(), out, quiet=True)


def test_a_run_folder_holds_what_it_promises(whole):
    out, summary = whole
    for name in ("config.yaml", "metrics.csv", "windows.csv", "summary.json", CHECKPOINT):
        assert (out / name).is_file(), name
    assert any((out / "tensorboard").iterdir())
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    assert len(metrics(out)) == 1 + 3
    assert 0.5 < summary["accuracy"] <= 1
    assert summary["spikes_per_sample"] > 0
    assert summary["energy_nj_per_sample"] > 0
    assert 0 < summary["search_seconds"] < summary["seconds"]
    layers = len(summary["windows"])
    rows = (out / "windows.csv").read_text(encoding="utf-8").splitlines()[1:]
    observed = (30 - 1) // 7  # ten iterations an epoch; 7, 14, 21, 28
    assert len(rows) == observed * layers * 4


def test_the_windows_move_and_are_those_of_the_history(whole):
    out, summary = whole
    last = {}
    for line in (out / "windows.csv").read_text(encoding="utf-8").splitlines()[1:]:
        _, layer, step, window, *_ = line.split(",")
        last[layer, int(step)] = float(window)
    for layer, windows in summary["windows"].items():
        assert windows == pytest.approx([last[layer, step] for step in (1, 2, 3, 4)])
    assert any(window != 1.0 for window in last.values())


def test_two_runs_of_a_seed_are_equal(whole, tmp_path):
    out, summary = whole
    again = train(quick(), tmp_path / "again", quiet=True)
    assert timeless(again) == timeless(summary)
    assert (tmp_path / "again" / "windows.csv").read_text(encoding="utf-8") == (
        out / "windows.csv"
    ).read_text(encoding="utf-8")
    assert metrics(tmp_path / "again") == metrics(out)


def test_another_seed_differs(whole, tmp_path):
    other = train(quick(seed=1), tmp_path / "other", quiet=True)
    assert other["loss"] != whole[1]["loss"]


@pytest.mark.parametrize("stop_at", [1, 2])
def test_an_interrupted_run_resumes_to_the_same_numbers(whole, tmp_path, stop_at):
    out, summary = whole
    part = tmp_path / "part"
    interrupted(quick(), part, stop_at)
    assert not (part / "summary.json").exists()
    assert (part / CHECKPOINT).exists() == (stop_at > 1)
    resumed = train(quick(), part, resume=True, quiet=True)
    assert timeless(resumed) == timeless(summary)
    assert (part / "windows.csv").read_text(encoding="utf-8") == (out / "windows.csv").read_text(
        encoding="utf-8"
    )
    assert metrics(part) == metrics(out)
    mine, theirs = read_checkpoint(part / CHECKPOINT), read_checkpoint(out / CHECKPOINT)
    for name, value in theirs["state_dict"].items():
        assert torch.equal(mine["state_dict"][name], value), name


def _listen():
    """Hear Ctrl-C even if the tests run in the background, where a shell has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_a_run_that_the_command_line_resumes(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "a2sg", "train", "digits", "--epochs", "2000", "--out", str(out)]
    command += ["--model.name", "mlp_small", "--model.options.hidden", "[8]", "--model.steps", "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=_listen, errors="replace"
    )
    deadline = time.monotonic() + 120
    while not (out / CHECKPOINT).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert f"a2sg train --resume {out}" in errors
    assert "Traceback" not in errors
    config = (out / "config.yaml").read_text(encoding="utf-8")
    epochs = read_checkpoint(out / CHECKPOINT)["epoch"] + 1
    (out / "config.yaml").write_text(
        config.replace("epochs: 2000", f"epochs: {epochs + 1}"), encoding="utf-8"
    )
    resumed = subprocess.run(
        [sys.executable, "-m", "a2sg", "train", "--resume", str(out)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        errors="replace",
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["epochs"] == epochs + 1


def test_gradient_accumulation_steps_the_windows_once_per_optimizer_step(tmp_path):
    train(quick(accumulate=2, epochs=1, **{"windows.every": 2}), tmp_path / "run", quiet=True)
    iterations = {
        line.split(",")[0]
        for line in (tmp_path / "run" / "windows.csv").read_text(encoding="utf-8").splitlines()[1:]
    }
    assert iterations == {"2", "4"}  # ten micro-batches are five steps, 0 to 4


def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(monkeypatch):
    """Also where the last step of an epoch has fewer of them, and the last one fewer samples."""
    monkeypatch.setattr(task.SpikingTask, "_log", lambda *_: None)
    config = quick(accumulate=3, **{"data.batch_size": 8})
    trained = task.SpikingTask(config, build_data(config)).eval()  # no statistics of a batch
    images, labels = trained.data.train.batch(torch.arange(3 * 8 + 8 + 5))
    trained.shares = Shares(len(labels), 8)

    def gradient(losses):
        return torch.autograd.grad(sum(losses), trained.model.conv2.synapse.weight)[0]

    for step in (range(3), range(3, 5)):
        parts = [slice(8 * number, 8 * number + 8) for number in step]
        micro = [
            trained.training_step((images[part], labels[part]), number) / config.accumulate
            for number, part in zip(step, parts, strict=True)
        ]
        whole = slice(parts[0].start, parts[-1].stop)
        expected = gradient([trained.loss(trained.model(images[whole]), labels[whole])])
        torch.testing.assert_close(gradient(micro), expected)


@pytest.mark.parametrize("loss", ["mean", "membrane", "tet"])
def test_every_loss_trains_with_regularizers(tmp_path, loss):
    overrides = {"loss.name": loss, "loss.regularizers": {"im": 1e-3, "rmp": 5e-4}}
    summary = train(quick(**overrides), tmp_path / loss, quiet=True)
    assert summary["accuracy"] > 0.3


@pytest.mark.parametrize("neuron", ["if", "plif", "integer_lif"])
def test_every_neuron_trains(tmp_path, neuron):
    overrides = {"neuron.name": neuron, "windows.candidates": 10}  # sums of several levels take long on a CPU
    train(quick(**overrides), tmp_path / neuron, quiet=True)
    *_, last = csv.DictReader((tmp_path / neuron / "metrics.csv").open(encoding="utf-8"))
    assert float(last["train_accuracy"]) > 0.6  # the test accuracy lags behind, with BN's running statistics


def test_mixed_precision_trains(tmp_path):
    assert train(quick(precision="bf16"), tmp_path / "run", quiet=True)["accuracy"] > 0.3


def test_a_loaded_run_has_its_windows_and_weights(whole):
    out, summary = whole
    task = load_run(out)
    assert {name: site.window.tolist() for name, site in task.windows.sites.items()} == summary["windows"]
    assert task.windows.iteration == 30


def test_a_run_of_0_1_opens_and_goes_on(whole, tmp_path):
    """Its checkpoints contain neither what neurons had computed nor which steps were skipped."""
    out, summary = whole
    old = tmp_path / "old"
    shutil.copytree(out, old, ignore=shutil.ignore_patterns("summary.json", "last-1.ckpt"))
    checkpoint = read_checkpoint(old / CHECKPOINT)
    for name in ("work_done", "guard"):
        del checkpoint[name]
    torch.save(checkpoint, old / CHECKPOINT)
    assert load_run(old).windows.iteration == 30
    assert train(quick(), old, resume=True, quiet=True)["windows"] == summary["windows"]


def small(epochs, **overrides):
    """A run of little work, which keeps weights."""
    network = {"model.name": "mlp_small", "model.steps": 2, "model.options": {"hidden": [8]}}
    return quick(epochs=epochs, **network, **overrides)


def test_kept_weights_are_those_of_a_run_that_ended_there(tmp_path):
    """With a constant learning rate, which does not depend on how many epochs there are."""
    constant = {"optimizer.schedule": "poly", "optimizer.power": 1e-12, "optimizer.warmup_epochs": 0}
    long = tmp_path / "long"
    train(small(4, keep_every=2, **constant), long, quiet=True)
    train(small(2, **constant), tmp_path / "short", quiet=True)
    assert kept_epochs(long) == [2, 4]
    short, task = load_run(tmp_path / "short"), load_run(long)
    last = {name: value.clone() for name, value in task.model.state_dict().items()}
    load_weights(task, long, 2)
    assert task.windows.iteration == short.windows.iteration == 20
    for name, value in short.model.state_dict().items():
        assert torch.equal(task.model.state_dict()[name], value), name
    assert not all(torch.equal(last[name], value) for name, value in task.model.state_dict().items())
    load_weights(task, long)
    assert all(torch.equal(last[name], value) for name, value in task.model.state_dict().items())
    load_weights(task, long, 4)
    assert all(torch.equal(last[name], value) for name, value in task.model.state_dict().items())
    kept, whole = read_checkpoint(epoch_checkpoint(long, 4)), read_checkpoint(long / CHECKPOINT)
    assert "optimizer_states" in whole
    assert not {"optimizer_states", "lr_schedulers", "callbacks"} & kept.keys()
    with pytest.raises(InputError, match=r"kept no weights after epoch 3: it has \[2, 4\]"):
        load_weights(task, long, 3)
    epoch_checkpoint(long, 2).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"epoch-2\.ckpt is damaged \(.*\): delete it$"):
        load_weights(task, long, 2)


def test_no_search_observes_a_loaded_run(tmp_path):
    """The iteration after the last would have been an observed one: sums of every candidate, for nothing."""
    train(small(1, **{"windows.every": 5}), tmp_path / "run", quiet=True)
    task = load_run(tmp_path / "run")
    assert task.windows.iteration == 10
    assert task.windows.observing
    assert [site.observer for site in task.windows.sites.values()] == [None]


def test_kept_weights_survive_an_interruption(tmp_path):
    config = small(3, keep_every=1)
    train(config, tmp_path / "whole", quiet=True)
    interrupted(config, tmp_path / "part", 2)
    assert kept_epochs(tmp_path / "part") == [1]
    train(config, tmp_path / "part", resume=True, quiet=True)
    assert kept_epochs(tmp_path / "part") == kept_epochs(tmp_path / "whole") == [1, 2, 3]
    for epoch in (1, 2, 3):
        mine, theirs = (
            read_checkpoint(epoch_checkpoint(tmp_path / name, epoch)) for name in ("part", "whole")
        )
        for name, value in theirs["state_dict"].items():
            assert torch.equal(mine["state_dict"][name], value), name


def test_a_folder_from_before_weights_were_kept_is_read(whole, tmp_path):
    out, _ = whole
    assert kept_epochs(out) == []
    text = (out / "config.yaml").read_text(encoding="utf-8")
    assert "keep_every: null\n" in text
    (tmp_path / "config.yaml").write_text(text.replace("keep_every: null\n", ""), encoding="utf-8")
    assert read_run_config(tmp_path) == read_run_config(out)


def test_a_truncated_checkpoint_is_told(whole, tmp_path):
    out, _ = whole
    copy = tmp_path / "copy"
    (copy / "checkpoints").mkdir(parents=True)
    (copy / "config.yaml").write_text((out / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    content = (out / CHECKPOINT).read_bytes()
    (copy / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        train(quick(), copy, resume=True, quiet=True)
    with pytest.raises(InputError, match="damaged"):
        load_run(copy)
    (copy / CHECKPOINT).unlink()
    with pytest.raises(InputError, match=r"has no checkpoints/last\.ckpt yet"):
        load_run(copy)


def test_folders_that_cannot_be_used_are_told(whole, tmp_path):
    out, _ = whole
    with pytest.raises(InputError, match="is not empty"):
        train(quick(), out, quiet=True)
    with pytest.raises(InputError, match="holds a different run"):
        train(quick(seed=9), out, resume=True, quiet=True)
    with pytest.raises(InputError, match="not a run folder"):
        train(quick(), tmp_path / "none", resume=True, quiet=True)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write"):
        train(quick(), tmp_path / "file" / "run", quiet=True)


def test_a_run_that_cannot_be_built_leaves_no_folder(tmp_path):
    for overrides in (
        {"model.name": "vgg"},
        {"model.steps": 0},
        {"windows.low": 2.0},
        {"data.name": "digit"},
    ):
        with pytest.raises(InputError):
            train(quick(**overrides), tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists(), overrides


@pytest.mark.parametrize("there", [False, True])
def test_a_network_that_does_not_fit_the_data_leaves_nothing(tmp_path, there):
    out = tmp_path / "run"
    if there:
        out.mkdir()
    for _ in range(2):  # the folder can be used again
        with pytest.raises(InputError, match="do not fit labels"):
            train(load_recipe("digits", {"model.name": "fcn_small"}), out, quiet=True)
        assert out.exists() == there
        assert not there or {path.name for path in out.iterdir()} <= {".lock"}


def test_a_diverging_run_says_so(tmp_path):
    with pytest.raises(InputError, match=r"NaN or infinity|loss became"):
        train(quick(**{"optimizer.lr": 1e30, "optimizer.warmup_epochs": 0.0}), tmp_path / "run", quiet=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_missing_device_is_told(tmp_path):
    with pytest.raises(InputError, match="use --device cpu"):
        train(quick(device="cuda"), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_run_that_packs_spikes_is_the_same(tmp_path, monkeypatch, precision):
    packings = []

    def pack(**options):
        packings.append(pack_spikes(**options))
        return packings[-1]

    monkeypatch.setattr(task, "pack_spikes", pack)
    options = {"epochs": 2, "device": "cpu", "precision": precision, "windows.every": 3}
    options |= {"data.batch_size": 500, "model.options.width": 0.25}
    expected = train(load_recipe("digits", options), tmp_path / "plain", quiet=True)
    assert not packings
    found = train(load_recipe("digits", options | {"memory": "packed"}), tmp_path / "packed", quiet=True)
    assert all(one.packed > 0 for one in packings)
    assert timeless(found) == timeless(expected)
    assert metrics(tmp_path / "packed") == metrics(tmp_path / "plain")


def test_a_graph_of_a_step_must_not_look_at_values():
    config = load_recipe("digits", {"memory": "packed"})
    keeping = task.SpikingTask(config, build_data(config))._keeping
    assert keeping(torch.device("cpu")).search
    assert not keeping(torch.device("cuda")).search


@pytest.mark.parametrize(("precision", "told"), [("32", False), ("bf16", True)])
def test_the_precision_of_a_run_is_looked_at(tmp_path, monkeypatch, caplog, precision, told):
    monkeypatch.setattr(run, "slow_halves", lambda _: "a reason")
    options = {"epochs": 1, "model.name": "mlp_small", "model.options": {"hidden": [8]}}
    train(load_recipe("digits", options | {"precision": precision}), str(tmp_path / "run"), quiet=True)
    assert (f"{precision} is slow here: a reason; --precision 32 is faster" in caplog.text) == told
    assert load_run(str(tmp_path / "run")).windows.iteration == 19
