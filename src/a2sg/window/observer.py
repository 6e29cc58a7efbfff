"""What watches a neuron's backward pass on an observed iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill, Observation, Sums
from a2sg.kernels.traced import enlist
from a2sg.kernels.watch import Gradient, Look, Steps
from a2sg.surrogate import Surrogate
from a2sg.window.later import Mail, Parcel


class Gated(Protocol):
    """What an observer watches."""

    @property
    def gate(self) -> Gate:
        """Its thresholds and surrogate, as they are now."""
        ...


class Observer:
    """Adds up, per step, the sums of δ at every lattice window and at the window in use.

    Sums are taken where the table is; what is shown from elsewhere is brought there.

    Args:
        steps: T.
        lattice: windows to look at, ascending `[L]`; empty to watch the window in use alone.
        fill: how their sums are computed; None is the backend's fastest way.
        gradient: `"spike"`: δ = dL/ds · f (research code); `"full"`: δ = dL/du, with the leak's carry.
        shapes: H surrogates to look at with every window; empty for the one in use.

    Attributes:
        table: sums `[T, H · L + 1, 6]`, shape by shape; the last row of a step is the window in use.
        passing: how many elements have a δ that is not 0, under the window in use `[T]`.
        site: what it watches.
        key: see `a2sg.kernels.watch.Watcher`.
        settle: is called as a backward pass begins, to bring the table to where the model is.
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
        self.passing = torch.zeros(steps, dtype=torch.float64)
        self.clock = Clock()
        self.settle: Callable[[], None] = _nothing
        self.site: Gated | None = None
        self.key = enlist(self)
        self._parts = _parts(len(lattice), shapes)
        # The lattice for every step, and behind it the window in use `[T, L + 1]`.
        self._candidates = torch.cat([lattice, lattice.new_zeros(1)]).repeat(steps, 1)

    @property
    def current_gate(self) -> Gate:
        """As `a2sg.kernels.watch.Watcher`."""
        assert self.site is not None
        return self.site.gate

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, key=enlist(self))  # a copy is another one

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """As `a2sg.kernels.watch.Watcher`; adds up the sums of every step that is shown."""
        self.settle()
        fill = self.fill or fill
        table = self.table
        if self._candidates.device != table.device:
            self._candidates = self._candidates.to(table.device)
        self._candidates[:, -1] = window.detach().to(table.device)
        later: Tensor | None = None

        def look(shown: Steps) -> None:
            nonlocal later
            if shown.potential.device != table.device:
                shown = shown.to(table.device)
            with self.clock.running(table.device):
                carry = shown.carry if self.gradient == "full" else None
                used = shown.delta if carry is None else shown.delta + carry
                after = _shifted(used, later)
                later = used[:1]
                at = slice(shown.first, shown.end)
                self.passing[at] += used.flatten(1).count_nonzero(1)
                seen = Observation(gate, shown.potential, shown.upstream, carry, after)
                for shape, columns, windows in self._parts:
                    one = seen if shape is None else seen._replace(gate=replace(gate, surrogate=shape))
                    fill(one, self._candidates[at, windows], table[at, columns])

        return look


def _parts(count: int, shapes: Sequence[Surrogate]) -> list[tuple[Surrogate | None, slice, slice]]:
    """Shape (None: the one in use), columns of the table, and which of `count` + 1 candidates they have."""
    whole = slice(None)
    if not shapes:
        return [(None, whole, whole)]
    searched = [slice(at * count, (at + 1) * count) for at in range(len(shapes))]
    last = slice(-1, None)
    parts = [(shape, columns, slice(count)) for shape, columns in zip(shapes, searched, strict=True)]
    return [*parts, (None, last, last)]


def _shifted(used: Tensor, later: Tensor | None) -> Tensor:
    """The gradients of the steps after those of `used` `[K, ...]`; `later` is that after the last, if any."""
    if later is None:
        return used[1:]
    return later if len(used) == 1 else torch.cat([used[1:], later])


def _nothing() -> None:
    pass


class Clock:
    """Adds up the seconds spent in a piece of work, on the device that does it, without waiting for it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._mail = Mail()

    def running(self, device: torch.device) -> _Lap:
        """A context whose duration is added."""
        return _Lap(self, device)

    @property
    def seconds(self) -> float:
        """Seconds so far; on a GPU, reading it waits for the work."""
        self._mail.deliver(wait=True)
        return self._seconds

    def add(self, seconds: float) -> None:
        """Add a duration that is known."""
        self._seconds += seconds

    def add_later(self, lap: Parcel[float]) -> None:
        """Add a duration that a device will know."""
        self._mail.send(lap, self.add)
        self._mail.deliver()


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
            self.last = torch.cuda.Event(enable_timing=True)
            self.last.record()
            self.clock.add_later(self)
        else:
            self.clock.add(time.perf_counter() - self.start)

    @property
    def there(self) -> bool:
        return self.last.query()

    def read(self) -> float:
        self.last.synchronize()
        return self.first.elapsed_time(self.last) / 1000
