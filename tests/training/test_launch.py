"""Ranks are started, watched and ended together, and each way in which that may fail is one clear line."""

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser

import pytest

from a2sg import children
from a2sg.children import Child
from a2sg.errors import InputError
from a2sg.ranks import Lost
from a2sg.training import launch
from a2sg.training.folders import SUMMARY
from a2sg.training.world import LOST
from gpus import pretend_gpus
from ranks import needs_distributed
from scripted import ScriptedChild

TRAIN = [
    *("train", "digits", "--device", "cpu", "--epochs", "5000", "--save_every", "20"),
    *("--model.name", "mlp_small", "--model.options.hidden", "[8]", "--model.steps", "2"),
]


def options(*words):
    parser = ArgumentParser()
    launch.add_options(parser)
    return parser.parse_args(words)


@pytest.fixture
def environment(monkeypatch):
    """Without the variables of ranks, and how to set them."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)

    def ranks(size, local_size):
        values = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": local_size}
        for name, value in {**values, "MASTER_ADDR": "here", "MASTER_PORT": 1}.items():
            monkeypatch.setenv(name, str(value))

    return ranks


@pytest.mark.parametrize(
    ("words", "count"), [([], 1), (["--devices", "3"], 3), (["--devices", "auto", "--nodes", "1"], 1)]
)
def test_how_many_ranks_to_start(environment, words, count):
    assert launch.ranks_to_start(options(*words), "cpu") == count


def test_auto_is_all_gpus(environment, monkeypatch):
    pretend_gpus(monkeypatch, 4)
    assert launch.ranks_to_start(options("--devices", "auto"), "auto") == 4
    with pytest.raises(InputError, match="--devices 5 is more than the 4 GPUs of this machine"):
        launch.ranks_to_start(options("--devices", "5"), "cuda")


@pytest.mark.parametrize("words", [[], ["--devices", "2"], ["--devices", "auto", "--nodes", "3"]])
def test_ranks_that_were_started_start_no_others(environment, words):
    environment(size=6, local_size=2)
    assert launch.ranks_to_start(options(*words), "cpu") == 1


@pytest.mark.parametrize("words", [["--devices", "3"], ["--nodes", "2"]])
def test_other_ranks_than_were_started_are_told(environment, words):
    environment(size=6, local_size=2)
    with pytest.raises(InputError, match="is not what was started: 2 ranks on each of 3 machines"):
        launch.ranks_to_start(options(*words), "cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--devices", "0"], "--devices must be a whole number from 1 to 10000, not '0'"),
        (["--devices", "-1"], "--devices must be a whole number from 1 to 10000, not '-1'"),
        (["--devices", "9" * 5000], "--devices must be a whole number from 1 to 10000"),
        (["--devices", "many"], "--devices must be a whole number from 1 to 10000, not 'many'"),
        (["--nodes", "x"], "--nodes must be a whole number"),
        (
            ["--devices", "2", "--nodes", "2"],
            "--nodes 2 needs a2sg to be started on every machine: by srun",
        ),
    ],
)
def test_numbers_that_do_not_work_are_told(environment, words, message):
    with pytest.raises(InputError, match=message):
        launch.ranks_to_start(options(*words), "cpu")


def test_the_time_to_wait():
    assert launch.patience(options("--patience", "90s")) == 90
    assert launch.patience(options()) == 600
    with pytest.raises(InputError, match="--patience must be a time such as 90s, 10m or 2h, not 'long'"):
        launch.patience(options("--patience", "long"))


def test_words_without_those_of_devices():
    words = ["--devices", "2", "--resume", "run", "--patience=5s", "--nodes", "1"]
    assert launch.split_options(words) == ["--resume", "run"]


class Scripted(ScriptedChild):
    """In place of a child: after so many looks it has a status, unless it is killed before."""

    plans: list[tuple[int, int]]

    def __init__(self, words, variables, *, heard):
        self.left, self.end = self.plans[int(variables["RANK"])]
        made.append(self)

    @property
    def status(self):
        self.left -= 1
        return self.end if self.left < 0 else None


made: list[Scripted] = []
FOR_EVER = 10**9


@pytest.fixture
def scripted(monkeypatch):
    made.clear()
    monkeypatch.setattr(launch, "Child", Scripted)
    monkeypatch.setattr(launch, "POLL", 0.0)
    monkeypatch.setattr(launch, "GRACE", 0.05)

    def launched(*plans):
        Scripted.plans = list(plans)
        return launch.launch(["train"], len(plans))

    return launched


@pytest.mark.parametrize(
    ("plans", "status", "heard"),
    [
        ([(3, 0), (9, 0)], 0, None),
        ([(3, 2), (9, 2)], 2, 0),
        ([(5, LOST), (3, 2)], 2, 1),
        ([(3, LOST), (5, 1), (4, LOST)], 1, 1),
        ([(3, 2), (FOR_EVER, 0)], 2, 0),
    ],
)
def test_the_status_is_that_of_the_rank_that_failed(scripted, plans, status, heard):
    assert scripted(*plans) == status
    assert [child.repeated for child in made] == [rank == heard for rank in range(len(plans))]


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([(5, LOST), (3, -signal.SIGKILL)], "rank 1 of 2 was ended by SIGKILL, and the others with it"),
        ([(3, LOST), (FOR_EVER, 0)], "rank 1 of 2 did not answer, and all were ended"),
        ([(FOR_EVER, 0), (3, LOST), (4, LOST)], "rank 0 of 3 did not answer, and all were ended"),
    ],
)
def test_a_rank_that_is_lost_is_told(scripted, plans, message):
    with pytest.raises(Lost, match=message):
        scripted(*plans)


class Signalled(ScriptedChild):
    """In place of a child: it runs until it gets a signal, and then has its status."""

    plans: list[int]

    def __init__(self, words, variables, *, heard):
        self.rank, self.process, self.status, self.got = int(variables["RANK"]), self, None, []
        made.append(self)

    def send_signal(self, number):
        self.got.append(number)
        self.status = self.plans[self.rank]


@pytest.mark.parametrize(
    ("number", "plans", "status", "said"),
    [
        # While they start, before they listen.
        (signal.SIGTERM, [-signal.SIGTERM, -signal.SIGTERM], 143, "a2sg: ended by SIGTERM\n"),
        (signal.SIGINT, [-signal.SIGTERM, -signal.SIGTERM], 130, "a2sg: interrupted\n"),
        (signal.SIGUSR1, [-signal.SIGUSR1, -signal.SIGUSR1], 138, "a2sg: ended by SIGUSR1\n"),
        # While only one of them listens.
        (signal.SIGTERM, [LOST, -signal.SIGTERM], 143, "a2sg: ended by SIGTERM\n"),
        (signal.SIGINT, [LOST, LOST], 130, "a2sg: interrupted\n"),
        # Rank 0 has said that they were saved.
        (signal.SIGTERM, [143, 143], 143, ""),
        (signal.SIGINT, [143, -signal.SIGTERM], 130, ""),
        # An error of its own, which is repeated.
        (signal.SIGTERM, [LOST, 2], 143, ""),
        # They had finished already.
        (signal.SIGTERM, [0, 0], 0, ""),
    ],
)
def test_a_signal_that_is_passed_on_gives_the_status(
    scripted, monkeypatch, capsys, number, plans, status, said
):
    Signalled.plans = plans
    monkeypatch.setattr(launch, "Child", Signalled)
    monkeypatch.setattr(launch.time, "sleep", lambda _: made[0].got or os.kill(os.getpid(), number))
    assert launch.launch(["train"], 2) == status
    assert capsys.readouterr().err == said
    assert [child.got for child in made] == [[signal.SIGTERM if number == signal.SIGINT else number]] * 2
    assert [child.repeated for child in made] == [False, 2 in plans]


def test_a_rank_that_is_killed_after_a_signal_is_told(scripted, monkeypatch):
    Signalled.plans = [LOST, -signal.SIGKILL]
    monkeypatch.setattr(launch, "Child", Signalled)
    monkeypatch.setattr(launch.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Lost, match="rank 1 of 2 was ended by SIGKILL, and the others with it"):
        launch.launch(["train"], 2)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, 143, "a2sg: ended by SIGTERM\n"),
        (signal.SIGINT, 130, "a2sg: interrupted\n"),
        (signal.SIGUSR1, 138, "a2sg: ended by SIGUSR1\n"),
    ],
)
def test_a_signal_while_ranks_start_ends_them(tmp_path, monkeypatch, capfd, rank, number, status, said):
    """It comes as soon as a rank has begun, or while both import."""
    begun = []

    class Begun(Child):
        def __init__(self, words, variables, *, heard):
            super().__init__(words, variables, heard=heard)
            begun.append(self.process)
            if variables["RANK"] == "0" and rank == 0:
                os.kill(os.getpid(), number)
            elif variables["RANK"] == "1" and rank == 1:
                threading.Timer(0.3, os.kill, (os.getpid(), number)).start()

    monkeypatch.setattr(children, "imported", [])  # of other tests
    monkeypatch.setattr(launch, "Child", Begun)
    assert launch.launch([*TRAIN, "--out", str(tmp_path / "run")], 2) == status
    assert capfd.readouterr().err == said
    assert all(process.poll() is not None for process in begun)
    assert not (tmp_path / "run").exists()


def test_what_a_child_says_is_kept_and_repeated(capfdbinary, monkeypatch):
    monkeypatch.setattr(children, "imported", [])  # of other tests
    with Child(["evaluate", "nowhere"], {}, heard=False) as child:
        assert child.process.wait() == 2
        assert capfdbinary.readouterr().err == b""
        child.repeat()
    assert b"a2sg: error: nowhere is not a run folder" in capfdbinary.readouterr().err


def test_a_child_ends_with_the_process_that_began_it(tmp_path):
    code = "import time; from a2sg.children import follow; follow(); print(flush=True); time.sleep(99)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, children.BEGUN: "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        process.stdin.close()  # as the end of the other process does
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def started(folder, *words):
    """`a2sg train` on two devices, once it has saved; and its ranks."""
    process = subprocess.Popen(
        [sys.executable, "-m", "a2sg", *words, "--devices", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    began, path = time.time(), folder / "checkpoints" / "last.ckpt"

    def saved():
        return process.poll() is not None or (path.is_file() and path.stat().st_mtime > began)

    until(saved, seconds=240)
    return process, ranks_of(process.pid)


def until(done, seconds):
    """Wait for what must come."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ranks_of(parent):
    """The processes that one has begun, by their rank."""
    found = {}
    for task in os.listdir(f"/proc/{parent}/task"):
        with open(f"/proc/{parent}/task/{task}/children", encoding="utf-8") as file:
            for child in map(int, file.read().split()):
                with open(f"/proc/{child}/environ", encoding="utf-8") as variables:
                    values = dict(word.split("=", 1) for word in variables.read().split("\0") if "=" in word)
                found[int(values["RANK"])] = child
    return found


def gone(ranks):
    return not any(os.path.exists(f"/proc/{number}") for number in ranks.values())


SAVED = "a2sg: saved and stopped; continue with: a2sg train --resume"
KILLED = (
    "a2sg: error: rank 1 of 2 was ended by SIGKILL, and the others with it; "
    "continue with: a2sg train --resume"
)
HANGS = "a2sg: error: rank 1 of 2 did not answer, and all were ended; continue with: a2sg train --resume"
ENDS = {
    "Ctrl-C": (None, signal.SIGINT, 128 + signal.SIGINT, SAVED),
    "a rank is killed": (1, signal.SIGKILL, LOST, KILLED),
    "a rank hangs": (1, signal.SIGSTOP, LOST, HANGS),
    "all is killed": (None, signal.SIGKILL, -signal.SIGKILL, ""),
}
"""What is sent to which rank, or to the process that began them; its status, and what it says."""


@pytest.mark.slow
@needs_distributed
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks for processes as Linux shows them")
def test_however_it_ends_one_line_says_it_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    words = [*TRAIN, "--out", str(folder)]
    for name, (rank, number, status, line) in ENDS.items():
        process, ranks = started(folder, *words, "--patience", "5s")
        assert process.poll() is None, process.stderr.read().decode()
        os.kill(process.pid if rank is None else ranks[rank], number)
        try:
            said = process.communicate(timeout=120)[1].decode().splitlines()
        finally:
            process.kill()
        assert process.returncode == status, "\n".join([name, *said])
        lines = [text for text in said if text.startswith("a2sg:")]
        assert len(lines) == bool(line), (name, said)
        assert not line or lines[0].startswith(line)
        assert not any("Traceback" in text for text in said), (name, said)
        until(lambda ranks=ranks: gone(ranks), seconds=30)
        words = ["train", "--resume", str(folder)]
    assert not (folder / SUMMARY).exists()
