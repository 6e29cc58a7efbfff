"""`Observer`: watches a neuron's backward pass on an observed iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from a2sg.devices import capturing
from a2sg.errors import require
from a2sg.kernels.gate import Gate
from a2sg.kernels.layout import layout_of
from a2sg.kernels.sums import Fill, Observation, Sums
from a2sg.kernels.traced import enlist
from a2sg.kernels.watch import Gradient, Look, Steps
from a2sg.surrogate import Surrogate
from a2sg.window.later import Mail, Parcel
from a2sg.window.sharing import Sharing

COUNTED = 2**24
"""Maximum number of elements that float32 counts exactly."""


class Gated(Protocol):
    """Anything that an observer can watch."""

    @property
    def gate(self) -> Gate:
        """Its present thresholds and surrogate."""
        ...


class Observer:
    """Adds up, per step, the sums of δ at every lattice window and at the window in use.

    Steps that share a window share their sums; steps beyond T count as the last one. Sums are computed on the
    device of the table; steps from another device are copied there.

    Args:
        steps: T.
        lattice: windows to evaluate, ascending `[L]`; empty to watch only the window in use.
        fill: how the sums are computed; None is the backend's fastest way.
        gradient: `"spike"`: δ = dL/ds · f (research code); `"full"`: δ = dL/du, with the leak's carry.
        shapes: H surrogates to evaluate at every window; empty for the one in use.
        groups: G, see `a2sg.window.Site`; None is T.

    Attributes:
        table: sums `[G, H · L + 1, 6]`, shape by shape; the last row of a group is the window in use.
        passing: number of elements whose δ is not 0 under the window in use `[G]`.
        lengths: of the sequences in the backward passes `[B]`: elements at later steps do not count. None:
            all sequences have the full length.
        site: the site that it watches.
        key: see `a2sg.kernels.watch.Watcher`.
        settle: called when a backward pass reaches the neuron, to move the table to the model's device.
    """

    def __init__(
        self,
        steps: int,
        lattice: Tensor,
        fill: Fill | None,
        gradient: Gradient,
        shapes: Sequence[Surrogate] = (),
        groups: int | None = None,
    ) -> None:
        self.sharing = Sharing(steps, groups or steps)
        count = self.sharing.groups
        self.lattice = lattice
        self.fill = fill
        self.gradient = gradient
        self.shapes = shapes
        rows = max(1, len(shapes)) * len(lattice) + 1
        self.table = torch.zeros(count, rows, len(Sums), dtype=torch.float64)
        self.passing = torch.zeros(count, dtype=torch.float64)
        self.lengths: Tensor | None = None
        self.clock = Clock()
        self.settle: Callable[[], None] = _nothing
        self.site: Gated | None = None
        self.key = enlist(self)
        self._parts = _parts(len(lattice), shapes)
        # The lattice for every group, followed by the window in use `[G, L + 1]`.
        self._candidates = torch.cat([lattice, lattice.new_zeros(1)]).repeat(count, 1)

    @property
    def graph_kind(self) -> tuple[Any, ...] | None:
        """What decides which operations a watched backward pass runs, and on which memory; equal if all is.

        None: a CUDA graph cannot repeat the pass. So it is for lengths, which differ from batch to batch, and
        for a `watch` that does more than add to `table` and `passing` on the device.
        """
        if self.lengths is not None:
            return None
        held = (self.table, self.passing, self._candidates)
        places = (tensor.data_ptr() for tensor in held)
        return self, self.gradient, self.fill, tuple(self.shapes), *places

    @property
    def current_gate(self) -> Gate:
        """See `a2sg.kernels.watch.Watcher`."""
        assert self.site is not None
        return self.site.gate

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, key=enlist(self))  # a copy needs its own key

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        """See `a2sg.kernels.watch.Watcher`; adds up the sums of every step that it is shown."""
        self.settle()
        fill = self.fill or fill
        table = self.table
        if self._candidates.device != table.device:
            self._candidates = self._candidates.to(table.device)
        self._use(window.detach().to(table.device))
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
                passing = nonzero(used) if shown.passing is None else shown.passing
                absent = self._absent(shown)
                whole = Observation(gate, shown.potential, shown.upstream, carry, after)
                for at, run in self._places(shown.first, len(shown.potential)):
                    seen = whole if run is None else _as_one(whole.steps(run))
                    self.passing[at].add_(passing if run is None else passing[run].sum(dtype=torch.float64))
                    for shape, columns, windows in self._parts:
                        one = seen if shape is None else seen._replace(gate=replace(gate, surrogate=shape))
                        fill(one, self._candidates[at, windows], table[at, columns])
                    if absent is not None:
                        table[at, :, Sums.COUNT] -= absent[:, None] if run is None else absent[run].sum()

        return look

    def _use(self, window: Tensor) -> None:
        """Set the windows in use, those of the first N steps `[N]`, as candidates."""
        steps, groups = self.sharing
        if groups == steps:
            known = min(len(window), steps)
            self._candidates[:known, -1] = window[:known]
        else:
            for group, run in self.sharing.runs(0, len(window)):
                self._candidates[group, -1] = window[run.start]

    def _places(self, first: int, count: int) -> Iterator[tuple[slice, slice | None]]:
        """Groups, and which of the shown steps belong to each; None: one step to each group, in order."""
        steps, groups = self.sharing
        end = first + count
        if groups == steps and end <= steps:
            yield slice(first, end), None
        else:
            for group, run in self.sharing.runs(first, end):
                yield slice(group, group + 1), run

    def _absent(self, shown: Steps) -> Tensor | None:
        """Elements of each shown step that belong to ended sequences `[K]`; None if no lengths are set."""
        if self.lengths is None:
            return None
        elements, batch = shown.potential[0].numel(), max(1, len(self.lengths))
        shape = shown.potential.shape  # `[K, B, ...]`, or `[K, N]` from a kernel
        require(
            shape[1] % batch == 0,
            f"lengths has {len(self.lengths)} sequences, but a layer has {shape[1]} "
            f"{'of them' if len(shape) > 2 else 'elements in a step'}: set the "
            "lengths of each batch before its backward pass, and None for one without padding",
        )
        steps = torch.arange(shown.first, shown.end, device=shown.potential.device)
        ended = self.lengths.to(steps.device) <= steps[:, None]
        return ended.sum(1) * (elements // batch)


def nonzero(x: Tensor) -> Tensor:
    """How many elements of each step of `[K, ...]` are not 0, NaN included, exactly `[K]`."""
    if x.device.type == "cpu":
        return x.flatten(1).count_nonzero(1)
    return nonzero_by_norm(layout_of(x).flatten(x))  # in memory order: nothing is copied


def nonzero_by_norm(x: Tensor) -> Tensor:
    """The same of `[K, N]`; only reads, where a GPU's count_nonzero writes two more tensors of this size."""
    wide = torch.promote_types(x.dtype, torch.float32)
    counts = [torch.linalg.vector_norm(part, 0, 1, dtype=wide) for part in x.split(COUNTED, 1)]
    return counts[0] if len(counts) == 1 else torch.stack(counts).double().sum(0)


def _parts(count: int, shapes: Sequence[Surrogate]) -> list[tuple[Surrogate | None, slice, slice]]:
    """Shapes (None: the one in use), each with its columns of the table and its of `count` + 1 candidates."""
    whole = slice(None)
    if not shapes:
        return [(None, whole, whole)]
    searched = [slice(at * count, (at + 1) * count) for at in range(len(shapes))]
    last = slice(-1, None)
    parts = [(shape, columns, slice(count)) for shape, columns in zip(shapes, searched, strict=True)]
    return [*parts, (None, last, last)]


def _as_one(seen: Observation) -> Observation:
    """Several steps joined into one with the elements of all; `later` is 0 where there is no next step."""
    steps, later = len(seen.potential), seen.later
    if steps == 1:
        return seen
    if later is not None and 0 < len(later) < steps:
        later = torch.cat([later, later.new_zeros((steps - len(later), *later.shape[1:]))])
    parts = (seen.potential, seen.upstream, seen.carry, later)
    flat = (None if part is None or not len(part) else part.reshape(1, -1) for part in parts)
    return Observation(seen.gate, *flat)  # type: ignore[arg-type]


def _shifted(used: Tensor, later: Tensor | None) -> Tensor:
    """For each step of `used` `[K, ...]` the gradient of the next one; `later` follows the last, if any."""
    if later is None:
        return used[1:]
    return later if len(used) == 1 else torch.cat([used[1:], later])


def _nothing() -> None:
    pass


class Clock:
    """Adds up the seconds that a device spends on a piece of work, without waiting for it.

    Work that is replayed as part of a CUDA graph is not counted: no event can be timed within a graph.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._mail = Mail()

    def running(self, device: torch.device) -> AbstractContextManager[object]:
        """A context; the time spent in it is added, unless a CUDA graph is being recorded."""
        recorded = device.type != "cpu" and capturing(device)
        return nullcontext() if recorded else _Lap(self, device)

    @property
    def seconds(self) -> float:
        """Seconds so far; on a GPU, reading this waits for the work."""
        self._mail.deliver(wait=True)
        return self._seconds

    def __getstate__(self) -> dict[str, Any]:  # what is being timed cannot be copied
        return {"_seconds": self.seconds, "_mail": Mail()}

    def add(self, seconds: float) -> None:
        """Add a known duration."""
        self._seconds += seconds

    def add_later(self, lap: Parcel[float]) -> None:
        """Add a duration that the device has yet to measure."""
        self._mail.send(lap, self.add)
        self._mail.deliver()


class _Lap:
    def __init__(self, clock: Clock, device: torch.device) -> None:
        self.clock = clock
        self.device = device
        self.cuda = device.type == "cuda"

    def __enter__(self) -> None:
        if self.cuda:
            self.first = self._event()
        else:
            self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self.cuda:
            self.last = self._event()
            self.clock.add_later(self)
        else:
            self.clock.add(time.perf_counter() - self.start)

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))  # it need not be the current device
        return event

    @property
    def there(self) -> bool:
        return self.last.query()

    def read(self) -> float:
        self.last.synchronize()
        return self.first.elapsed_time(self.last) / 1000
