"""Who watches a neuron that gets its sequence in several calls."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.errors import InputError
from a2sg.kernels.gate import Gate
from a2sg.kernels.sums import Fill
from a2sg.kernels.watch import Gradient, Look, Steps, Watcher


class Stream:
    """Joins the backward passes of the calls of one sequence, of which the last comes first.

    A step is compared with the step after it, which may have been in another call. So a call whose last step
    comes right before the first that was shown goes on with what looked at that. One sequence at a time: the
    calls of two must not take turns within one backward pass.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Place, Look] | None = None

    def part(
        self, watcher: Watcher, window: Tensor, first: int, steps: int, initial: Tensor | None
    ) -> Watcher:
        """Who watches the backward pass of one call.

        Args:
            watcher: of the neuron, which knows steps below T; a later step is shown as the last.
            window: of the neuron `[T]`.
            first: the call's first step, from 0.
            steps: how many it has.
            initial: the potential that it begins with; gradients go on to the call before if it has one.
        """
        linked = initial is not None and initial.requires_grad
        return _Part(self, watcher, window, first, first + steps, linked)

    def look(self, place: Place) -> Look | None:
        """What looked at the sequence from a place on, if that was shown right before."""
        return self._waiting[1] if self._waiting is not None and self._waiting[0] == place else None

    def wait(self, place: Place | None, look: Look) -> None:
        """`look` has seen a sequence from a place on; None: there is nothing before it."""
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
    end: int
    linked: bool

    @property
    def gradient(self) -> Gradient:
        return self.watcher.gradient

    @property
    def key(self) -> str:
        raise InputError(
            "a neuron that gets its sequence in parts cannot be searched inside torch.compile: compile only "
            "what lies between the neurons, or skip the search with windows.paused()"
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
                look = self.stream.look(Place(self.end, shape, self.watcher))
            if look is None:
                look = self.watcher.watch(gate, self.window, fill)
            shown = shown._replace(first=shown.first + self.first)
            if shown.end <= len(self.window):
                look(shown)
            else:
                for one in shown.each():
                    look(one._replace(first=min(one.first, len(self.window) - 1)))
            before = Place(self.first, shape, self.watcher) if self.linked else None
            self.stream.wait(before, look)

        return placed
