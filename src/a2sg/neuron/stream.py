"""Watching a neuron that gets its sequence in several calls."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill
from a2sg.kernels.watch import Gradient, Look, Steps, Watcher


class Stream:
    """Joins the backward passes of the calls of one sequence; the last call's comes first.

    A step is compared with the next step, which may have been in another call. So if a call's last step comes
    right before the first step shown so far, the look that saw that step continues with this call. This works
    for one sequence at a time: calls of two sequences must not alternate within one backward pass.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Place, Look] | None = None

    def part(self, watcher: Watcher, window: Tensor, first: int, initial: Tensor | None) -> Watcher:
        """The watcher for the backward pass of one call.

        Args:
            watcher: the neuron's.
            window: of all steps of the sequence up to the call's last.
            first: the call's first step, from 0.
            initial: the potential at its start; if it has a gradient, the call before is part of the same
                backward pass.
        """
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() == -1:
            self._waiting = None  # left by a backward pass that ended before it came to the start
        linked = initial is not None and initial.requires_grad
        return _Part(self, watcher, window, first, linked)

    def look(self, place: Place) -> Look | None:
        """The look that has seen the sequence from a place on, if it was the last to see a call."""
        return self._waiting[1] if self._waiting is not None and self._waiting[0] == place else None

    def wait(self, place: Place | None, look: Look) -> None:
        """Remember that `look` has seen a sequence from a place on; None: no call comes before it."""
        self._waiting = None if place is None else (place, look)


class Place(NamedTuple):
    """A step in a sequence."""

    step: int
    shape: torch.Size
    """Of a step, `[B, ...]`."""
    watcher: Watcher


class _Part(NamedTuple):
    """See `Stream.part`."""

    stream: Stream
    watcher: Watcher
    window: Tensor
    first: int
    linked: bool

    @property
    def gradient(self) -> Gradient:
        return self.watcher.gradient

    @property
    def key(self) -> str:
        raise InputError(
            "windows cannot be searched for a neuron that gets its sequence in parts inside torch.compile: "
            "compile only what lies between the neurons, or skip the search with windows.paused()"
        )

    @property
    def current_gate(self) -> Gate:
        return self.watcher.current_gate

    def watch(self, gate: Gate, window: Tensor, fill: Fill) -> Look:
        look: Look | None = None

        def placed(shown: Steps) -> None:
            nonlocal look
            shape = shown.potential.shape[1:]
            if look is None:
                look = self.stream.look(Place(len(self.window), shape, self.watcher))
            if look is None:
                look = self.watcher.watch(gate, self.window, fill)
            look(shown._replace(first=shown.first + self.first))
            before = Place(self.first, shape, self.watcher) if self.linked else None
            self.stream.wait(before, look)

        return placed
