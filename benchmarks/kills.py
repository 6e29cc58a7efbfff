"""A run killed at random moments, again and again, against the same run left alone.

    .venv/bin/python benchmarks/kills.py [--kills 20] [--seed 0] [--out DIR]

Trains a small network on digits with a search in every fourth step, saves it every third, and ends its
process with `kill -9` so many times. The seed draws when; of every three kills, the first waits until a
checkpoint is being written, and the second until an iteration is observed. Then the run goes on to the end.
Weights, windows.csv and metrics.csv (without seconds) must be those of the other run, to the byte.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path

import killed_at
import torch
from killed_at import MOMENTS, OBSERVED, OTHER, WRITING

from a2sg.training.checkpoints import CHECKPOINT, newest_checkpoint, read_checkpoint
from a2sg.training.folders import CONFIG, SUMMARY

RUN = {
    "epochs": 120,
    "save_every": 3,
    "data.batch_size": 64,
    "windows.every": 4,
    "windows.batches": 2,
    "augment.crop_padding": 1,
    "model.name": "mlp_small",
    "model.options": "{hidden: [16]}",
    "model.steps": 2,
}
REST = 4.0
"""Seconds that a process may train, at most, before it is killed."""
WITHIN = 0.0015
"""Seconds, at most, from the start of what is aimed at to the kill: less than a checkpoint takes."""
AIMS = (WRITING, OBSERVED, None)
"""What the process must be doing when it is killed; None for anything."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path("runs/kills"))
    given = options.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    whole, killed = given.out / "whole", given.out / "killed"
    assert train(whole).wait() == 0
    draw = random.Random(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    marks = given.out / "doing"
    marks.write_bytes(OTHER)
    byte = killed_at.mapped(marks)
    steps, moments = [], Counter[str]()
    for number in range(given.kills):
        rest, within, aim = draw.uniform(0, REST), draw.uniform(0, WITHIN), AIMS[number % len(AIMS)]
        steps.append(kill(killed, rest, aim, within, byte, marks))
        moments[MOMENTS[byte[:1]]] += 1
    done = train(killed).wait() == 0
    print(f"killed after steps {steps}; gone on to the end: {done}")
    print(", ".join(f"{count} {moment}" for moment, count in moments.most_common()))
    for name, same in compared(whole, killed).items():
        print(f"{name}: {'equal' if same else 'DIFFERENT'}")
    print(f"torch {torch.__version__}, {date.today()}")


def train(out: Path, marks: Path | None = None) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it if it has begun; `marks` is the file that says what it is doing."""
    words = ["--resume", str(out)] if (out / CONFIG).is_file() else ["digits", "--out", str(out)]
    if words[0] != "--resume":
        words += [f"--{name}={value}" for name, value in RUN.items()]
    env = dict(os.environ)
    if marks is not None:
        words += ["--import", killed_at.__name__]
        places = filter(None, [str(Path(__file__).parent), env.get("PYTHONPATH")])
        env |= {killed_at.VARIABLE: str(marks), "PYTHONPATH": os.pathsep.join(places)}
    return subprocess.Popen(
        [sys.executable, "-m", "a2sg", "train", *words], stderr=subprocess.DEVNULL, env=env
    )


def kill(out: Path, rest: float, aim: bytes | None, within: float, byte: mmap.mmap, marks: Path) -> int:
    """Train until `rest` seconds after the next checkpoint, then until `within` what is aimed at, and kill.

    Returns:
        The step that was saved last.
    """
    path = out / CHECKPOINT
    before = path.stat().st_mtime_ns if path.is_file() else 0
    byte[:1] = OTHER
    process = train(out, marks)
    while process.poll() is None and (path.stat().st_mtime_ns if path.is_file() else 0) == before:
        time.sleep(0.01)
    time.sleep(rest)
    while process.poll() is None and aim is not None and byte[:1] != aim:
        pass  # without a pause: a write takes a few milliseconds
    if aim is not None:
        time.sleep(within)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run is too short for so many kills"
    last = newest_checkpoint(out)
    assert last is not None
    step: int = read_checkpoint(last)["global_step"]
    return step


def compared(whole: Path, killed: Path) -> dict[str, bool]:
    """What both runs left, and whether it is the same."""
    one, other = (read_checkpoint(out / CHECKPOINT)["state_dict"] for out in (whole, killed))
    metrics = [
        [line.rsplit(b",", 1)[0] for line in read(out, "metrics.csv").splitlines()] for out in (whole, killed)
    ]
    return {
        "weights": one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one),
        "windows.csv": read(whole, "windows.csv") == read(killed, "windows.csv"),
        "metrics.csv": metrics[0] == metrics[1],
        SUMMARY: all((out / SUMMARY).is_file() for out in (whole, killed)),
    }


def read(out: Path, name: str) -> bytes:
    return (out / name).read_bytes()


if __name__ == "__main__":
    main()
