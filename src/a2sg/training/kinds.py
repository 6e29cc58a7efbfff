"""Kinds of work in a recorded iteration: convolutions, neurons, batch norm, and so on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from a2sg.training.phases import BACKWARD, FORWARD, ITERATION, OTHER, PHASES

NAMES = {
    # An operation belongs to the first of these kinds whose name occurs in it or in an operation around it.
    "batch norm": r"batch_?norm",
    "neurons": r"_IntegrateAndFire",
    "pooling": r"pool",
    "convolution": r"conv(olution|_|\d)",
    "dense": r"mm(backward|_|$)|(^|:)linear|matmul|attention",
}
"""Kinds, and what the names of operations contain; forward and backward are told apart."""
COPIES, REST = "copies", "other operations"
COPY = r"copy_?$|::clone|::contiguous"
PYTHON = "Python between operations"
IDLE = "GPU idle"
ENGINE = "autograd::engine"

PATTERNS = [(kind, re.compile(name, re.IGNORECASE)) for kind, name in {**NAMES, COPIES: COPY}.items()]
ANY = len(PATTERNS)
"""The rank of an operation with none of these names."""


class Work:
    """The work of one recorded iteration.

    Attributes:
        observed: whether the windows were searched in it.
        seconds: by kind; they add up to the iteration.
        calls: operations by kind, without those inside another one of the same kind.
    """

    def __init__(self, iteration: FunctionEvent, cuda: bool) -> None:
        self.observed = "observed" in iteration.name
        self.cuda = cuda
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.start, self.end = iteration.time_range.start, iteration.time_range.end
        self.add(iteration, OTHER)

    def add(self, event: FunctionEvent, phase: str, rank: int = ANY, within: str = "") -> None:
        """Add an event and its parts.

        Args:
            event: of the host.
            phase: the phase in which it happens.
            rank: of the operation around it, among `PATTERNS`.
            within: the kind of that operation.
        """
        named = event.name in PHASES
        if named:
            phase, rank = event.name, ANY
        else:
            rank = min(rank, _rank(event.name))
        kind = PYTHON if named and phase in (FORWARD, BACKWARD) else _kind(phase, rank)
        microseconds = (
            sum(kernel.duration for kernel in event.kernels) if self.cuda else event.self_cpu_time_total
        )
        self.seconds[kind] += microseconds / 1e6
        self.calls[kind] += kind != within
        for part in event.cpu_children:
            self.add(part, phase, rank, kind)

    def finish(self) -> Work:
        """Count the rest of the iteration on a GPU as idle; drop kinds that took no time."""
        if self.cuda:
            busy = sum(self.seconds.values())
            self.seconds[IDLE] = max(0.0, (self.end - self.start) / 1e6 - busy)
        self.seconds = +self.seconds
        return self


def work(events: Iterable[FunctionEvent], cuda: bool) -> list[Work]:
    """The work of each recorded iteration.

    Args:
        events: of a trace in which iterations and phases are named, as `PhaseProfiler` does.
        cuda: whether to count the time of the GPU, else that of the CPU. A GPU's kernels belong to the
            operation that launched them.
    """
    roots = [event for event in events if event.cpu_parent is None and event.device_type == DeviceType.CPU]
    found = [Work(root, cuda) for root in roots if root.name.startswith(ITERATION)]
    if cuda:  # there the backward pass has its own thread
        for root in roots:
            for each in found:
                if root.name.startswith(ENGINE) and each.start <= root.time_range.start < each.end:
                    each.add(root, BACKWARD)
    return [each.finish() for each in found]


@cache
def _rank(name: str) -> int:
    return next((rank for rank, (_, pattern) in enumerate(PATTERNS) if pattern.search(name)), ANY)


def _kind(phase: str, rank: int) -> str:
    if phase not in (FORWARD, BACKWARD):
        return phase
    if rank == ANY:
        return REST
    kind, _ = PATTERNS[rank]
    return kind if kind == COPIES else f"{kind}, {phase}"
