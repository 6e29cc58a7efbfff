"""Which window a step has: its own or a shared one, within T and beyond, and when weights are loaded.

One rule: windows are assigned in order, from the first step or group on. Steps beyond the last window use the
last one; if there are more windows than steps, the first ones are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.errors import require
from a2sg.kernels.tracing import tracing


class Sharing(NamedTuple):
    """T steps in G groups: runs of steps that share a window, as equal in length as possible."""

    steps: int
    """T."""
    groups: int
    """G, from 1 to T; with T groups each step has its own window."""

    def group(self, step: int) -> int:
        """The group of a step, both from 0; steps beyond the last are in its group."""
        return min(step, self.steps - 1) * self.groups // self.steps

    def steps_of(self, group: int) -> range:
        """The steps of a group, both from 0."""
        first, end = (-(-at * self.steps // self.groups) for at in (group, group + 1))
        return range(first, end)

    @property
    def ends(self) -> list[int]:
        """The last step of each group, from 1."""
        return [self.steps_of(group).stop for group in range(self.groups)]

    def runs(self, first: int, end: int) -> Iterator[tuple[int, slice]]:
        """The groups of the steps from `first` to before `end`, each with a slice of these steps."""
        start = first
        while start < end:
            group = self.group(start)
            last = group == self.groups - 1
            stop = end if last else min(end, self.steps_of(group).stop)
            yield group, slice(start - first, stop - first)
            start = stop

    def windows(self, window: Tensor, first: int, count: int) -> Tensor:
        """Windows of `count` steps from `first` on `[count, ...]`, from those of the groups `[G, ...]`."""
        first = min(first, self.steps)  # all steps beyond T have the same window
        if self.groups == self.steps and first + count <= self.steps:
            return window[first : first + count]
        if tracing(window):
            return window[[self.group(step) for step in range(first, first + count)]]
        return window[_groups(self, first, count, window.device)]


@lru_cache(maxsize=4096)
def _groups(sharing: Sharing, first: int, count: int, device: torch.device) -> Tensor:
    """The groups of steps `[count]`, made once: copying them in every pass would stall a GPU's stream."""
    return torch.tensor([sharing.group(step) for step in range(first, first + count)], device=device)


def fitted(saved: Tensor, count: int) -> Tensor:
    """Saved windows `[S, ...]` fitted to a layer that has `count` of them, by the rule above.

    Raises:
        InputError: if one is not a finite number above 0.
    """
    right = saved.is_meta or bool(((saved > 0) & saved.isfinite()).all())
    require(right, "a saved window is not a finite number above 0: is the checkpoint damaged?")
    if len(saved) == count:
        return saved
    return saved[torch.arange(count, device=saved.device).clamp(max=len(saved) - 1)]
