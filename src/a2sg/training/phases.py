"""How long each phase of an iteration takes: waiting for data, forward, backward, and so on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import Profiler
from torch.profiler import ProfilerActivity, profile, record_function

from a2sg.devices import capturing
from a2sg.window import WindowPolicy
from a2sg.window.observer import Clock

WAITING, TRANSFER, AUGMENTATION = "waiting for data", "transfer", "augmentation"
FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
SUMS, SEARCH, OTHER = "search: sums", "search: windows", "Lightning and metrics"
PHASES = (WAITING, TRANSFER, AUGMENTATION, FORWARD, BACKWARD, SUMS, OPTIMIZER, SEARCH, OTHER)
"""Phases in the order in which they occur."""

ACTIONS = {
    "train_dataloader_next": WAITING,
    "on_before_batch_transfer": TRANSFER,
    "batch_to_device": TRANSFER,
    "transfer_batch_to_device": TRANSFER,
    AUGMENTATION: AUGMENTATION,
    "training_step": FORWARD,
    "backward": BACKWARD,
    SUMS: SUMS,
    "optimizer_zero_grad": OPTIMIZER,
    "optimizer_step": OPTIMIZER,
    "lr_scheduler_step": OPTIMIZER,
    "on_train_batch_end": SEARCH,
}
"""Actions by their names in Lightning, or in the task for augmentation; others count as the present phase."""
FETCH, EPOCH = "train_dataloader_next", "run_training_epoch"

ITERATION = "iteration"
"""Prefix of the names of iterations in the trace."""

Moment = Any
"""A point in time on the device that computes: seconds, or a CUDA event."""


@dataclass
class Iteration:
    """One iteration, all its micro-batches together.

    Attributes:
        number: from 0, as in `WindowPolicy`.
        observed: whether the windows are searched in it.
        images: number of samples processed.
        laps: phase, beginning and end, in order.
    """

    number: int
    observed: bool
    images: int = 0
    laps: list[tuple[str, Moment, Moment]] = field(default_factory=list)

    def seconds(self) -> Counter[str]:
        """Time by phase; on a GPU once its work is done."""
        found: Counter[str] = Counter()
        for phase, start, end in self.laps:
            found[phase] += end - start if isinstance(start, float) else start.elapsed_time(end) / 1000
        return found


class PhaseProfiler(Profiler):
    """Times the phases of iterations for a `Trainer`; the last ones are recorded by `torch.profiler` instead.

    An action within another interrupts it, so phases never overlap and add up to the iteration, which lasts
    from its first request for data to the next iteration's. On a GPU the times are those of its stream, and
    nothing waits for it: the host's work counts only where it delays the stream.

    Args:
        windows: show when an iteration ends, and whether it is observed.
        device: of the network.
        first: the first iteration to keep; those before are the warm-up.
        trace_from: the first iteration to record.
    """

    def __init__(self, windows: WindowPolicy, device: torch.device, first: int, trace_from: int) -> None:
        super().__init__()
        self.windows = windows
        self.cuda = device.type == "cuda"
        self.first = first
        self.trace_from = trace_from
        self.iterations: list[Iteration] = []
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self.cuda else [])
        self.trace = profile(activities=activities)
        self._tracing = False
        self._now: Iteration | None = None
        self._name: record_function | None = None
        self._phases: list[tuple[str, record_function | None]] = [(OTHER, None)]
        self._since: Moment = None
        for observer in windows.observers.values():
            observer.clock = _PhaseClock(self)

    @property
    def timed(self) -> list[Iteration]:
        """The iterations after the warm-up that no recording slowed down."""
        return [each for each in self.iterations if self.first <= each.number < self.trace_from]

    def start(self, action_name: str) -> None:
        """Begin an action, as Lightning calls it."""
        name = action_name.rpartition(".")[2]
        # Within the same iteration, this is its next micro-batch.
        if name == FETCH and (self._now is None or self._now.number != self.windows.iteration):
            self._end()
            self._begin()
        within = self._phases[-1][0]
        phase = within if action_name.startswith("[Callback]") else ACTIONS.get(name, within)
        self._lap()
        self._phases.append((phase, _named(phase) if self._tracing and phase != within else None))

    def stop(self, action_name: str) -> None:
        """End an action."""
        self._lap()
        _, name = self._phases.pop()
        if name is not None:
            name.__exit__(None, None, None)
        if action_name == EPOCH:
            self._end()

    def saw(self, images: int) -> None:
        """Count samples of the present iteration."""
        if self._now is not None:
            self._now.images += images

    def close(self) -> None:
        """Stop recording; on a GPU, wait for the work."""
        self._end()
        if self._tracing:
            self._tracing = False
            self.trace.stop()
        if self.cuda:
            torch.cuda.synchronize()

    def _begin(self) -> None:
        number, observed = self.windows.iteration, self.windows.observing
        if number == self.trace_from:
            self.trace.start()
            self._tracing = True
        if self._tracing:
            self._name = _named(f"{ITERATION} {number}{', observed' if observed else ''}")
        self._now = Iteration(number, observed)
        self._since = self._moment()

    def _end(self) -> None:
        if self._now is None:
            return
        self._lap()
        self.iterations.append(self._now)
        self._now = None
        if self._name is not None:
            if self.cuda:
                torch.cuda.synchronize()  # so that the named range covers all its work
            self._name.__exit__(None, None, None)
            self._name = None

    def _lap(self) -> None:
        """Add the time since the last call to the present phase."""
        if self._now is not None:
            moment = self._moment()
            self._now.laps.append((self._phases[-1][0], self._since, moment))
            self._since = moment

    def _moment(self) -> Moment:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class SampleCount(pl.Callback):
    """Reports the number of samples of each batch to a `PhaseProfiler`."""

    def __init__(self, phases: PhaseProfiler) -> None:
        self.phases = phases

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        _, labels = batch
        self.phases.saw(len(labels))


class _PhaseClock(Clock):
    """An observer's clock that makes the sums a separate phase within the backward pass.

    In a CUDA graph they remain part of it.
    """

    def __init__(self, phases: PhaseProfiler) -> None:
        super().__init__()
        self.phases = phases

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        with nullcontext() if capturing(device) else self.phases.profile(SUMS), super().running(device):
            yield


def _named(name: str) -> record_function:
    """A range of the trace, already begun."""
    found = record_function(name)
    found.__enter__()
    return found
