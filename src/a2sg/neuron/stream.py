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

    def part(self, watcher: Watcher, window: Tensor, first: int, initial: Tensor | None) -> Watcher:
        """Who watches the backward pass of one call.

        Args:
            watcher: of the neuron.
            window: of all steps of the sequence up to the call's last.
            first: the call's first step, from 0.
            initial: the potential that it begins with; gradients go on to the call before if it has one.
        """
        linked = initial is not None and initial.requires_grad
        return _Part(self, watcher, window, first, linked)

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
                look = self.stream.look(Place(len(self.window), shape, self.watcher))
            if look is None:
                look = self.watcher.watch(gate, self.window, fill)
            look(shown._replace(first=shown.first + self.first))
            before = Place(self.first, shape, self.watcher) if self.linked else None
            self.stream.wait(before, look)

        return placed
