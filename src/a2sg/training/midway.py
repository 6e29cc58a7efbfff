"""Saving in the middle of an epoch: when, and what a run needs to resume from there to the bit."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch

from a2sg.errors import require
from a2sg.ranks import Vote

SIGNALS = ("SIGTERM", "SIGUSR1")
"""Signals that end a job: clusters send the first, SLURM the second with `sbatch --signal=USR1@SECONDS`."""
SAVE = 1
"""A rank's vote to save and continue; a rank that must end votes with its signal's number, a larger one."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Every(NamedTuple):
    """How often a run is saved within an epoch: by optimizer steps, or by time."""

    steps: int | None = None
    seconds: float | None = None


class Stopped(Exception):
    """A signal ended the training; the run was saved.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def read_every(value: int | str | None) -> Every | None:
    """The interval in `save_every`: 500 steps, or a time such as 90s, 10m or 2h; None for never.

    Raises:
        InputError: for anything else.
    """
    if value is None:
        return None
    text = str(value).strip()
    steps, seconds = int(text) if text.isdecimal() else None, read_time(text)
    require(
        (steps is not None and steps > 0) or seconds is not None,
        f"save_every must be a number of optimizer steps such as 500, or a time such as 90s, 10m or 2h, not "
        f"{value!r}",
    )
    return Every(steps, seconds)


def read_time(text: str) -> float | None:
    """The seconds of a time such as 90s, 10m or 2h; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    return float(found[1]) * UNITS[found[2]] or None if found else None


class Saver:
    """Saves a run within its epochs, when a save is due or a signal requests it.

    After the last batch of an epoch nothing is saved here, since the epoch's own checkpoint follows. If a
    save is due on any rank, or a signal reached it, all ranks save after the next step.

    Args:
        every: how often; None: only if a signal ends the run.
        path: of the checkpoint.
    """

    def __init__(self, every: Every | None, path: Path) -> None:
        self.every = every or Every()
        self.path = path
        self.signal: int | None = None
        self._saved = time.monotonic()
        self._vote = Vote()

    def __call__(self, trainer: pl.Trainer, batches: int, save: Callable[[Path, int], None]) -> None:
        """Save if that is due; called after every optimizer step.

        Args:
            trainer: the trainer.
            batches: number of batches of the epoch that are done.
            save: called with the path, and this number.

        Raises:
            Stopped: after it has saved a run that a signal ended.
        """
        if batches == trainer.num_training_batches:
            self._saved = time.monotonic()
            return
        wish = self._vote(self.signal or (SAVE if self._late() else 0))
        if wish or self._due(trainer.global_step):
            save(self.path, batches)
            self._saved = time.monotonic()
            if wish > SAVE:
                raise Stopped(wish)

    def _due(self, step: int) -> bool:
        return self.every.steps is not None and step % self.every.steps == 0

    def _late(self) -> bool:
        seconds = self.every.seconds
        return seconds is not None and time.monotonic() - self._saved >= seconds

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record signals inside this context, instead of their usual effect."""
        before = {number: signal.getsignal(number) for number in signal_numbers()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Start to record signals, after Lightning, which would exit without saving."""
        for number in signal_numbers():
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number


def signal_numbers() -> list[int]:
    """The signals that this system has; none in a thread, which cannot receive them."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]


def random_state() -> dict[str, Any]:
    """The state of torch's random number generators."""
    there = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if there else []}


def set_random_state(state: dict[str, Any]) -> None:
    """Restore this state."""
    torch.set_rng_state(state["cpu"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
