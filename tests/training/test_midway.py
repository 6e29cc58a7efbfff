"""Saved in the middle of an epoch, a run goes on from there to the bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from a2sg.errors import InputError
from a2sg.files import read_rows
from a2sg.models import MODELS, register_model
from a2sg.models.mlp import mlp_small
from a2sg.training.checkpoints import CHECKPOINT, read_checkpoint, write_checkpoint
from a2sg.training.folders import SUMMARY
from a2sg.training.midway import Every, Saver, read_every
from a2sg.training.recipe import load_recipe
from a2sg.training.run import Interrupted, train
from saved import metrics, timeless

TINY = {
    "epochs": 2,
    "windows.every": 4,
    "windows.batches": 3,
    "data.batch_size": 128,
    "model.name": "mlp_small",
    "model.steps": 2,
    "model.options": {"hidden": [16]},
}


@pytest.fixture(scope="module", autouse=True)
def _noisy():
    """Among the networks, one that draws random numbers."""

    @register_model("noisy_mlp")
    def noisy(setting):
        """Drops some of its input."""
        return nn.Sequential(nn.Dropout(0.2), *mlp_small(setting, (16,)))

    yield
    del MODELS["noisy_mlp"]


def tiny(**overrides):
    return load_recipe("digits", {**TINY, **overrides})


@pytest.mark.parametrize(
    ("value", "every"),
    [
        (None, None),
        (500, Every(steps=500)),
        ("500", Every(steps=500)),
        ("90s", Every(seconds=90.0)),
        ("10m", Every(seconds=600.0)),
        ("1.5h", Every(seconds=5400.0)),
    ],
)
def test_how_often(value, every):
    assert read_every(value) == every


@pytest.mark.parametrize("value", ["", "0", 0, "-1", "10 minutes", "1.5", "m", "0s", "ten"])
def test_what_is_neither_a_number_nor_a_time_is_told(value):
    with pytest.raises(InputError, match="save_every must be a number of optimizer steps such as 500, or a"):
        tiny(save_every=value)


class Killed(BaseException):
    """As if the process ended there."""


def killed(config, out, at):
    """Train into `out` until step `at` is done and saved if it is due; nothing is cleaned up after that."""
    call = Saver.__call__

    def die(self, trainer, *rest):
        call(self, trainer, *rest)
        if trainer.global_step == at:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "__call__", die)
        with pytest.raises(Killed):
            train(config, out, quiet=True)


CASES = {
    "plain": {},
    "random": {"model.name": "noisy_mlp"},
    "cnn": {"model.name": "vgg_small", "model.options": {"width": 0.125}},
    "accumulation": {"accumulate": 2, "data.batch_size": 64},
    "augmentation": {"augment.crop_padding": 1, "augment.cutmix": 1.0, "augment.erasing": 0.3},
    "average": {"optimizer.average": 0.9, "optimizer.schedule": "onecycle"},
    "loader": {"data.workers": 2},
    "cpng": {"windows.policy": "cpng"},
}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Each case, trained in one go."""
    found = {}

    def of(case):
        if case not in found:
            out = tmp_path_factory.mktemp("whole") / case
            found[case] = out, train(config_of(case), out, quiet=True)
        return found[case]

    return of


def config_of(case):
    overrides = dict(CASES[case])
    if "windows.policy" in overrides:
        overrides["windows.batches"] = 1
    if "model.name" in overrides:
        overrides.setdefault("model.options", {})
    return tiny(save_every=1, **overrides)


@pytest.mark.parametrize("at", [1, 6, 9, 14])
@pytest.mark.parametrize(
    "case",  # the workers of a killed run are waited for, in the tests after it too
    [pytest.param(case, marks=pytest.mark.slow if case == "loader" else ()) for case in CASES],
)
def test_a_run_goes_on_to_the_bit(wholes, tmp_path, case, at):
    """Ten steps an epoch; the search observes steps 4 to 6, 8 to 10 and 12 to 14."""
    out, summary = wholes(case)
    killed(config_of(case), tmp_path / "run", at)
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["global_step"] == at
    again = train(config_of(case), tmp_path / "run", resume=True, quiet=True)
    assert timeless(again) == timeless(summary)
    assert metrics(tmp_path / "run") == metrics(out)
    assert (tmp_path / "run" / "windows.csv").read_text(encoding="utf-8") == (out / "windows.csv").read_text(
        encoding="utf-8"
    )
    mine, theirs = (read_checkpoint(folder / CHECKPOINT) for folder in (tmp_path / "run", out))
    for name, value in theirs["state_dict"].items():
        assert torch.equal(mine["state_dict"][name], value), name


def test_what_the_killed_run_wrote_after_it_was_saved_is_cut_off(wholes, tmp_path):
    """Saved at step 10, the end of an epoch; killed at 15, after the search of steps 12 to 14."""
    out, _ = wholes("plain")
    run, config = tmp_path / "run", tiny(save_every=100)
    killed(config, run, 15)
    saved = read_checkpoint(run / CHECKPOINT)["windows"]["history"]
    assert 0 < saved < len(read_rows(run / "windows.csv"))
    for name in ("windows.csv", "metrics.csv"):
        with (run / name).open("a", encoding="utf-8") as file:
            file.write("18,half a li")
    train(config, run, resume=True, quiet=True)
    assert (run / "windows.csv").read_bytes() == (out / "windows.csv").read_bytes()
    assert metrics(run) == metrics(out)


def test_a_checkpoint_of_a_version_that_kept_all_rows_in_it_goes_on(wholes, tmp_path):
    out, _ = wholes("plain")
    run, config = tmp_path / "run", tiny(save_every=100)
    killed(config, run, 15)
    state = read_checkpoint(run / CHECKPOINT)
    for rows, name in ((state["windows"], "windows.csv"), (state["callbacks"]["MetricsFile"], "metrics.csv")):
        key = "history" if "history" in rows else "rows"
        rows[key] = read_rows(run / name)[: rows[key]]
    write_checkpoint(state, run / CHECKPOINT)
    for name in ("windows.csv", "metrics.csv"):
        (run / name).write_text("written when the epoch ended\n", encoding="utf-8")
    train(config, run, resume=True, quiet=True)
    assert (run / "windows.csv").read_bytes() == (out / "windows.csv").read_bytes()
    assert metrics(run) == metrics(out)


def test_no_checkpoint_grows_with_the_iterations(tmp_path):
    """Searches, epochs, points of the loss curve: what they leave is in files that grow, and counted."""
    config = tiny(epochs=8, save_every=1, **{"windows.every": 1, "windows.batches": 1, "data.batch_size": 32})
    sizes = {}
    call = Saver.__call__

    def weigh(self, trainer, *rest):
        call(self, trainer, *rest)
        sizes[trainer.global_step] = (tmp_path / "run" / CHECKPOINT).stat().st_size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "__call__", weigh)
        train(config, tmp_path / "run", quiet=True)
    rows = len(read_rows(tmp_path / "run" / "windows.csv"))
    assert rows == 2 * (max(sizes) - 1)
    assert sizes[max(sizes) - 1] - sizes[45] < rows / 2, "bytes; rows would be more than 100 each"


def test_the_last_batch_is_left_to_the_epoch(tmp_path):
    killed(tiny(save_every=1), tmp_path / "run", 10)
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["global_step"] == 9


def test_time_decides(tmp_path, monkeypatch):
    """One step a minute, saved after every third."""
    now = iter(range(0, 10**6, 60))
    monkeypatch.setattr("a2sg.training.midway.time.monotonic", lambda: next(now) / 2)
    saved = []
    monkeypatch.setattr(
        "a2sg.training.task.SpikingTask.save_midway",
        lambda self, path, batches: saved.append(self.trainer.global_step),
    )
    train(tiny(epochs=1, save_every="1m"), tmp_path / "run", quiet=True)
    assert saved
    assert all(step < 10 for step in saved)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_saves_first(tmp_path, name):
    """As clusters end a job: the exit status tells the signal, and nothing is lost."""
    out, number = tmp_path / "run", getattr(signal, name)
    command = [sys.executable, "-m", "a2sg", "train", "digits", "--epochs", "2000", "--out", str(out)]
    command += ["--model.name", "mlp_small", "--model.options.hidden", "[8]", "--model.steps", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, errors="replace")
    deadline = time.monotonic() + 120
    while not (out / CHECKPOINT).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number, errors
    assert f"saved and stopped; continue with: a2sg train --resume {out}" in errors
    assert "Traceback" not in errors
    assert not (out / SUMMARY).exists()
    read_checkpoint(out / CHECKPOINT)


def test_handlers_are_as_before_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    train(tiny(epochs=1), tmp_path / "run", quiet=True)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_signal_in_this_process_stops_after_the_step(tmp_path, monkeypatch):
    call = Saver.__call__

    def at_three(self, trainer, *rest):
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        call(self, trainer, *rest)

    monkeypatch.setattr(Saver, "__call__", at_three)
    with pytest.raises(Interrupted) as stopped:
        train(tiny(), tmp_path / "run", quiet=True)
    assert stopped.value.status == 143
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)["global_step"] == 3
