"""Times several ways to do the same thing, interleaved, so that drift of the machine affects all equally."""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Result = TypeVar("Result")


@dataclass
class Timing:
    """Seconds of one call.

    Attributes:
        first: of the first call that `interleave` made.
        samples: one per round, each the mean over a sample's calls.
    """

    first: float
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def speed(self, baseline: Timing) -> float:
        """How many times faster than `baseline`: the median of the ratios of each round."""
        return statistics.median(b / a for a, b in zip(self.samples, baseline.samples, strict=True))


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    sample: float,
    device: str,
    title: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time every call once per round; each round starts with a different one.

    Args:
        calls: functions to time, by name. Each is first called twice, the first time perhaps to compile.
        rounds: samples of each.
        sample: least duration of a sample in seconds: short calls are repeated.
        device: `"cpu"` or `"cuda"`, whose work to wait for.
        title: for the lines of progress.
        clock: returns the time in seconds.
    """
    timings: dict[str, Timing] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        say(f"{title}: warming up {name}")
        timings[name] = Timing(_seconds(call, 1, device, clock))
        once = min(_seconds(call, 1, device, clock) for _ in range(2))
        repeats[name] = max(1, math.ceil(sample / max(once, 1e-9)))
    names = list(calls)
    collecting = gc.isenabled()
    for turn in range(rounds):
        say(f"{title}: round {turn + 1} of {rounds}")
        gc.collect()
        gc.disable()
        try:
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                timings[name].samples.append(_seconds(calls[name], repeats[name], device, clock))
        finally:
            if collecting:
                gc.enable()
    return timings


def first_call(call: Callable[[], Result], device: str) -> tuple[Result, float]:
    """The result of a first call, and the seconds it took on a device, including compilation."""
    _wait(device)
    start = time.perf_counter()
    found = call()
    _wait(device)
    return found, time.perf_counter() - start


def say(text: str) -> None:
    """Show progress on stderr: in one line that is overwritten, or line by line if it is not a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _seconds(call: Callable[[], object], repeats: int, device: str, clock: Callable[[], float]) -> float:
    _wait(device)
    start = clock()
    for _ in range(repeats):
        call()
    _wait(device)
    return (clock() - start) / repeats


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
