"""Events on a device, counted there and read later."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from a2sg.devices import answers_at_once
from a2sg.window.later import Later

LOOK = 64
"""Events between two reads from a device that works through a queue."""


class Counts(NamedTuple):
    """How often an event has happened."""

    total: int = 0
    row: int = 0
    """In a row, up to now."""
    longest: int = 0
    """The most in a row."""


NONE = Counts()


class Tally:
    """Counts an event that may happen once per step, without waiting for the device that knows."""

    def __init__(self, counts: Counts = NONE) -> None:
        self._counts = self._before = torch.tensor(counts)
        self._heard = counts
        self._later: Later | None = None
        self._since = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_later": None}  # what is on its way cannot be copied

    def add(self, happened: Tensor, *, again: bool = False) -> None:
        """Count a step.

        Args:
            happened: whether the event happened, 0-d, on the device.
            again: whether this is the step that was counted last; it replaces what was said of it then.
        """
        if not again:
            self._before = self._counts
            self._since += 1
        total, row, longest = self._before.to(happened.device).unbind()
        row = (row + 1) * happened
        self._counts = torch.stack([total + happened, row, torch.maximum(longest, row)])

    def counts(self, *, wait: bool = False) -> Counts:
        """How often the event has happened, as far as known without waiting; or exactly."""
        if wait or answers_at_once(self._counts.device):
            return self._read(Later(self._counts))
        if self._later is not None and self._later.there:
            self._read(self._later)
        if self._later is None and self._since >= LOOK:
            self._later, self._since = Later(self._counts), 0
        return self._heard

    def _read(self, later: Later) -> Counts:
        self._later = None
        self._heard = Counts(*later.read().tolist())
        return self._heard
