"""Runs in processes of their own: how many at a time, where, and what stops them."""

import signal
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest

from a2sg.errors import InputError
from a2sg.ranks import Lost
from a2sg.training import launch, spread
from a2sg.training.config import RunConfig
from a2sg.training.folders import read_summary
from a2sg.training.run import Interrupted
from a2sg.training.world import LOST
from gpus import pretend_gpus
from machine import pretend_cores
from scripted import ScriptedChild

CONFIG = RunConfig(epochs=1, device="cpu")


class Scripted(ScriptedChild):
    """In place of a child: after so many looks its run is finished, or has failed as its seed says."""

    fails: dict[int, tuple[int, str | None]]
    log: list[tuple[str, int]]

    def __init__(self, words, variables, *, heard):
        assert words[:2] == ["train", "--resume"]
        assert not heard
        self.folder, self.variables, self.options = Path(words[2]), variables, words[3:]
        self.seed, self.left = int(self.folder.name), 2 + int(self.folder.name) % 2
        self.log.append(("begins", self.seed))
        children.append(self)

    @property
    def status(self):
        self.left -= 1
        if self.left > 0:
            return None
        if ("ends", self.seed) not in self.log:
            self.log.append(("ends", self.seed))
        return self.fails.get(self.seed, (0, None))[0]

    def error(self):
        return self.fails[self.seed][1]


children: list[Scripted] = []


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    children.clear()
    monkeypatch.setattr(spread, "Child", Scripted)
    monkeypatch.setattr(spread, "POLL", 0.0)
    monkeypatch.setattr(Scripted, "fails", {}, raising=False)
    monkeypatch.setattr(Scripted, "log", [], raising=False)


def runs(folder, count):
    return [(replace(CONFIG, seed=seed), folder / str(seed)) for seed in range(count)]


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
def test_so_many_run_at_a_time(tmp_path, at_once, capsys):
    spread.train_apart(runs(tmp_path, 6), at_once)
    assert [seed for what, seed in Scripted.log if what == "begins"] == list(range(6))
    most = now = 0
    for what, _ in Scripted.log:
        now += 1 if what == "begins" else -1
        most = max(most, now)
    assert now == 0
    assert most == min(at_once, 6)
    assert all((tmp_path / str(seed) / "config.yaml").is_file() for seed in range(6))
    assert "run 6 of 6: , seed 5" in capsys.readouterr().err


def test_each_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend_cores(monkeypatch, 8)
    spread.train_apart(runs(tmp_path / "a", 2), 2, gpus=2)
    assert [child.variables for child in children] == [
        {"CUDA_VISIBLE_DEVICES": str(n), "A2SG_SHARERS": "2", "OMP_NUM_THREADS": "4"} for n in (0, 1)
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    spread.train_apart(runs(tmp_path / "b", 2), 2, gpus=2)
    assert [child.variables["CUDA_VISIBLE_DEVICES"] for child in children[2:]] == ["5", "GPU-7"]


def test_cpus_are_shared(tmp_path, monkeypatch):
    pretend_cores(monkeypatch, 8)
    spread.train_apart(runs(tmp_path, 1), 3)
    assert children[0].variables == {"A2SG_SHARERS": "3", "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    ("status", "said", "kind", "message"),
    [
        (2, "the loss became nan", InputError, "the loss became nan"),
        (1, None, InputError, r"the training of .*1 ended with status 1; run the same command again"),
        (LOST, "rank 1 of 2 did not answer", Lost, "rank 1 of 2 did not answer"),
    ],
)
def test_the_first_that_fails_ends_all(tmp_path, status, said, kind, message):
    Scripted.fails[1] = status, said
    with pytest.raises(kind, match=message):
        spread.train_apart(runs(tmp_path, 9), 2)
    assert len(children) < 5
    assert children[1].repeated == (said is None)


def test_a_signal_begins_no_other(tmp_path, monkeypatch):
    original = Scripted.__init__

    def stopping(self, *words, **options):
        original(self, *words, **options)
        if self.seed == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Scripted, "process", property(lambda self: self), raising=False)
    monkeypatch.setattr(
        Scripted, "send_signal", lambda self, number: self.log.append(("signal", number)), raising=False
    )
    monkeypatch.setattr(Scripted, "__init__", stopping)
    with pytest.raises(Interrupted) as stop:
        spread.train_apart(runs(tmp_path, 9), 2)
    assert stop.value.status == 128 + signal.SIGTERM
    assert len(children) == 2
    assert ("signal", signal.SIGTERM) in Scripted.log


def options(*words):
    parser = ArgumentParser()
    parser.add_argument("--parallel")
    launch.add_options(parser)
    return parser.parse_args(words)


def test_options(monkeypatch, tmp_path):
    monkeypatch.delenv("RANK", raising=False)
    assert spread.apart_from(options(), CONFIG) is None
    assert spread.apart_from(options("--parallel", "auto"), CONFIG) is None
    assert spread.apart_from(options("--parallel", "3"), CONFIG).keywords == {"at_once": 3, "gpus": 0}
    spread.apart_from(options("--devices", "2", "--patience", "9s"), CONFIG)(runs(tmp_path, 1))
    assert children[0].options == ["--devices", "2", "--patience", "9s"]
    pretend_gpus(monkeypatch, 4)
    on_gpus = replace(CONFIG, device="auto")
    assert spread.apart_from(options("--parallel", "auto"), on_gpus).keywords == {"at_once": 4, "gpus": 4}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parallel", "0"], "--parallel must be a whole number from 1"),
        (["--parallel", "2", "--devices", "2"], "--parallel gives each run one device: leave out --devices"),
        (["--devices", "3"], "3 devices cannot share 64 evenly"),
    ],
)
def test_options_that_do_not_work_are_told(words, message):
    with pytest.raises(InputError, match=message):
        spread.apart_from(options(*words), CONFIG)


@pytest.mark.slow
def test_a_comparison_in_parallel_is_the_comparison(tmp_path, monkeypatch):
    monkeypatch.undo()
    from a2sg.cli import main

    words = ["compare", "digits", "--device", "cpu", "--epochs", "1", "--arms", "fixed,a2sg", "--seeds", "0"]
    words += ["--model.name", "mlp_small", "--model.options.hidden", "[8]", "--model.steps", "2"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert main([*words, "--out", str(tmp_path / "two"), "--parallel", "2"]) == 0
    for run in ("fixed-s0", "a2sg-s0"):
        one, two = (read_summary(tmp_path / way / run) for way in ("one", "two"))
        assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.01)
        assert (tmp_path / "two" / run / "accuracy.png").is_file()
    assert (tmp_path / "two" / "table.md").is_file()
