"""What watches a neuron's backward pass on an observed iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from a2sg.window.objectives import Sums, sums_of
from a2sg.window.sums import Fill, one_pass

if TYPE_CHECKING:
    from a2sg.kernels.gate import Gate
    from a2sg.kernels.reference import Step
    from a2sg.surrogate import Surrogate

Gradient = Literal["spike", "full"]


class Observer:
    """Adds up, per step, the sums of δ at every lattice window and at the window in use.

    Args:
        steps: T.
        lattice: windows to look at, ascending `[L]`; empty to watch the window in use alone.
        fill: how their sums are computed.
        gradient: `"spike"`: δ = dL/ds · f (research code); `"full"`: δ = dL/du, with the leak's carry.
        shapes: H surrogates to look at with every window; empty for the one in use.
    """

    def __init__(
        self,
        steps: int,
        lattice: Tensor,
        fill: Fill,
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

    def prefer(self, fill: Fill) -> None:
        """Take a backend's own one-pass way to the sums; a search that fills otherwise keeps its way."""
        if self.fill is one_pass:
            self.fill = fill

    def clear(self) -> None:
        """Forget all sums."""
        self.table.zero_()
        self.passing.zero_()

    def watch(self, gate: Gate, window: Tensor) -> Callable[[int, Step], None]:
        """What is to be shown every step of one backward pass, as `(t, step)`, the last one first.

        Args:
            gate: thresholds and surrogate of the neuron.
            window: the windows in use `[T]`.
        """
        later: Tensor | None = None

        def look(t: int, step: Step) -> None:
            nonlocal later
            later = self._add(t, gate, step, window[t], later)

        return look

    def _add(self, t: int, gate: Gate, step: Step, window: Tensor, later: Tensor | None) -> Tensor:
        """Add a step's sums; returns its gradient under the window in use: r for the step before."""
        with self.clock.running(step.delta.device):
            if self.table.device != step.delta.device:
                self.table = self.table.to(step.delta.device)
                self.lattice = self.lattice.to(step.delta.device)
                self.passing = self.passing.to(step.delta.device)
            carry = step.carry if self.gradient == "full" else None
            used = step.delta if carry is None else step.delta + carry
            self.passing[t] += used.count_nonzero()
            if self.shapes or not len(self.lattice):
                self.table[t, -1] += sums_of(used, later)
                for at, shape in enumerate(self.shapes):
                    rows = slice(at * len(self.lattice), (at + 1) * len(self.lattice))
                    other = replace(gate, surrogate=shape)
                    self.table[t, rows] += self.fill(
                        other, step.potential, step.upstream, carry, later, self.lattice
                    )
                return used
            # The window in use is one more candidate: they must be ascending.
            windows = torch.cat([self.lattice, window.detach().to(self.lattice)[None]])
            candidates, order = windows.sort(stable=True)
            self.table[t, order] += self.fill(gate, step.potential, step.upstream, carry, later, candidates)
            return used


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
