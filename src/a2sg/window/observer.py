"""What watches a neuron's backward pass on an observed iteration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill, Observation, Sums, sums_of
from a2sg.kernels.watch import Gradient, Look, Step
from a2sg.surrogate import Surrogate


class Observer:
    """Adds up, per step, the sums of δ at every lattice window and at the window in use.

    Args:
        steps: T.
        lattice: windows to look at, ascending `[L]`; empty to watch the window in use alone.
        fill: how their sums are computed; None is the backend's fastest way.
        gradient: `"spike"`: δ = dL/ds · f (research code); `"full"`: δ = dL/du, with the leak's carry.
        shapes: H surrogates to look at with every window; empty for the one in use.
    """

    def __init__(
        self,
        steps: int,
        lattice: Tensor,
        fill: Fill | None,
        gradient: Gradient,
        shapes: Sequence[Surrogate] = (),
    ) -> None:
        self.lattice = lattice
        self.fill = fill
        self.gradient = gradient
        self.shapes = shapes
        rows = max(1, len(shapes)) * len(lattice) + 1
        self.table = torch.zeros(steps, rows, len(Sums), dtype=torch.float64)
        """Sums `[T, H · L + 1, 6]`, shape by shape; the last row of a step is the window in use."""
        self.clock = Clock()
        self.passing = torch.zeros(steps, dtype=torch.float64)
        """How many elements have a δ that is not 0, under the window in use `[T]`."""

    def clear(self) -> None:
        """Forget all sums."""
        self.table.zero_()
        self.passing.zero_()

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """As `a2sg.kernels.watch.Watcher`; adds up the sums of every step that is shown."""
        fill = self.fill or fill
        later: Tensor | None = None

        def look(t: int, step: Step) -> None:
            nonlocal later
            carry = step.carry if self.gradient == "full" else None
            seen = Observation(gate, step.potential, step.upstream, carry, later)
            with self.clock.running(step.delta.device):
                later = step.delta if carry is None else step.delta + carry
                self._add(t, seen, later, window[t], fill)

        return look

    def _add(self, t: int, seen: Observation, used: Tensor, window: Tensor, fill: Fill) -> None:
        """Add the sums of step t, whose gradient under the window in use is `used`."""
        if self.table.device != used.device:
            self.table = self.table.to(used.device)
            self.lattice = self.lattice.to(used.device)
            self.passing = self.passing.to(used.device)
        self.passing[t] += used.count_nonzero()
        if self.shapes or not len(self.lattice):
            self.table[t, -1] += sums_of(used, seen.later)
            for at, shape in enumerate(self.shapes):
                rows = slice(at * len(self.lattice), (at + 1) * len(self.lattice))
                self.table[t, rows] += fill(
                    seen._replace(gate=replace(seen.gate, surrogate=shape)), self.lattice
                )
        else:
            # The window in use is one more candidate: they must be ascending.
            windows = torch.cat([self.lattice, window.detach().to(self.lattice)[None]])
            candidates, order = windows.sort(stable=True)
            self.table[t, order] += fill(seen, candidates)


class Clock:
    """Adds up the seconds spent in a piece of work, on the device that does it, without waiting for it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def running(self, device: torch.device) -> _Lap:
        """A context whose duration is added."""
        return _Lap(self, device)

    @property
    def seconds(self) -> float:
        """Seconds so far; on a GPU, reading it waits for the work."""
        for start, end in self._events:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000
        self._events.clear()
        return self._seconds


class _Lap:
    def __init__(self, clock: Clock, device: torch.device) -> None:
        self.clock = clock
        self.cuda = device.type == "cuda"

    def __enter__(self) -> None:
        if self.cuda:
            self.first = torch.cuda.Event(enable_timing=True)
            self.first.record()
        else:
            self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self.cuda:
            last = torch.cuda.Event(enable_timing=True)
            last.record()
            self.clock._events.append((self.first, last))
        else:
            self.clock._seconds += time.perf_counter() - self.start
