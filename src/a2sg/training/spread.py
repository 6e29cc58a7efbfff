"""The runs of a comparison in separate processes: several at a time, or each on several devices."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from a2sg.allowance import SHARERS
from a2sg.children import Child, passing_on
from a2sg.devices import find_device
from a2sg.errors import InputError, require
from a2sg.ranks import Lost
from a2sg.training.compare import Apart
from a2sg.training.config import RunConfig
from a2sg.training.folders import CONFIG, opened
from a2sg.training.launch import POLL, ranks_to_start, read_number, threads
from a2sg.training.midway import signal_numbers
from a2sg.training.parallel import require_divisible
from a2sg.training.run import Interrupted
from a2sg.training.world import LOST, World


def apart_from(options: Namespace, config: RunConfig) -> Apart | None:
    """How to train the runs of `a2sg compare`, by its options; None for one by one, in this process.

    Raises:
        InputError: for numbers that do not work, or if `a2sg compare` is one of several ranks.
    """
    require(
        World.here().size == 1,
        "start a2sg compare once, not by torchrun or srun: --devices and --parallel are for several devices",
    )
    ranks = ranks_to_start(options, config.device)
    gpus = torch.cuda.device_count() if find_device(config.device).type == "cuda" else 0
    if options.parallel is None:
        at_once = 1
    elif options.parallel == "auto":
        at_once = gpus or 1
    else:
        at_once = read_number("--parallel", options.parallel)
    require(ranks == 1 or at_once == 1, "--parallel gives each run one device: leave out --devices")
    require(not gpus or at_once <= gpus, f"--parallel {at_once} is more than the {gpus} GPUs of this machine")
    if ranks > 1:
        require_divisible(config, ranks)
        return partial(train_apart, options=("--devices", str(ranks), "--patience", options.patience))
    return partial(train_apart, at_once=at_once, gpus=gpus) if at_once > 1 else None


def train_apart(
    runs: Sequence[tuple[RunConfig, Path]], at_once: int = 1, gpus: int = 0, options: Sequence[str] = ()
) -> None:
    """Train runs in separate processes, as `a2sg train --resume` does; if one fails, all end.

    Args:
        runs: each with its folder, new or to be resumed.
        at_once: how many at a time.
        gpus: number of GPUs: each of the runs at a time gets its own.
        options: further words of `a2sg train`.

    Raises:
        InputError: with the error of the first run that failed.
        Interrupted: if a signal has ended them.
        Lost: if a run lost one of its own ranks.
    """
    waiting = list(enumerate(runs, 1))
    running: dict[int, tuple[Child, Path]] = {}
    with ExitStack() as stack:
        children: list[Child] = []
        signals = stack.enter_context(passing_on(children, signal_numbers()))
        while waiting or running:
            for slot in range(at_once):
                if slot not in running and waiting and not signals:
                    number, (config, folder) = waiting.pop(0)
                    _begin(config, folder)
                    print(f"run {number} of {len(runs)}: {config.arm}, seed {config.seed}", file=sys.stderr)
                    words = ["train", "--resume", str(folder), *options]
                    child = stack.enter_context(Child(words, _place(slot, at_once, gpus), heard=False))
                    children.append(child)
                    running[slot] = child, folder
            if signals and not running:
                break
            time.sleep(POLL)
            for slot, (child, folder) in list(running.items()):
                if child.status is not None:
                    del running[slot]
                    if child.status != 0 and not signals:
                        _fail(child, folder)
    if signals:
        raise Interrupted(str(runs[0][1].parent), signals[0])


def _begin(config: RunConfig, folder: Path) -> None:
    """Create the folder of a run that has not begun, so that it can be resumed."""
    if not (folder / CONFIG).is_file():
        with opened(config, folder, resume=False):
            pass


def _place(slot: int, at_once: int, gpus: int) -> dict[str, str]:
    """Environment variables of a run: its share of the cores, and its GPU."""
    share = {SHARERS: str(at_once), **threads(at_once)}
    if not gpus:
        return share
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {**share, "CUDA_VISIBLE_DEVICES": seen.split(",")[slot] if seen else str(slot)}


def _fail(child: Child, folder: Path) -> None:
    status, said = child.status, child.error()
    if status == LOST:
        raise Lost(said or f"{folder}: a rank was lost")
    if said is None:
        child.repeat()
    raise InputError(
        said or f"the training of {folder} ended with status {status}; run the same command again"
    )
