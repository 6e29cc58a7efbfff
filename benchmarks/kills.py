"""A run killed at random moments, again and again, against the same run left alone.

    .venv/bin/python benchmarks/kills.py [--kills 20] [--seed 0] [--out DIR]

Trains a small network on digits with a search in every fourth step, saves it every third, and ends its
process with `kill -9` so many times, each at a moment drawn from the seed. Then it goes on to the end.
Weights, windows.csv and metrics.csv (without seconds) must be those of the other run, to the byte.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch

from a2sg.training.checkpoints import CHECKPOINT, read_checkpoint
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
    steps = [kill(killed, draw.uniform(0, REST)) for _ in range(given.kills)]
    done = train(killed).wait() == 0
    print(f"killed after steps {steps}; gone on to the end: {done}")
    for name, same in compared(whole, killed).items():
        print(f"{name}: {'equal' if same else 'DIFFERENT'}")
    print(f"torch {torch.__version__}, {date.today()}")


def train(out: Path) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it if it has begun."""
    words = ["--resume", str(out)] if (out / CONFIG).is_file() else ["digits", "--out", str(out)]
    if words[0] != "--resume":
        words += [f"--{name}={value}" for name, value in RUN.items()]
    return subprocess.Popen([sys.executable, "-m", "a2sg", "train", *words], stderr=subprocess.DEVNULL)


def kill(out: Path, rest: float) -> int:
    """Train until so many seconds after the next checkpoint; the step that was saved last."""
    path = out / CHECKPOINT
    before = path.stat().st_mtime_ns if path.is_file() else 0
    process = train(out)
    while process.poll() is None and (path.stat().st_mtime_ns if path.is_file() else 0) == before:
        time.sleep(0.01)
    time.sleep(rest)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run is too short for so many kills"
    step: int = read_checkpoint(path)["global_step"]
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
