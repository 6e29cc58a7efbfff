"""Which window a step has: its own or a shared one, within T and beyond, also when weights are loaded.

The one rule: windows go by number, from the first step or group on. What lies beyond the last has the last
one; of more windows than there are steps the first ones are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Sharing(NamedTuple):
    """T steps in G groups: runs of steps that share a window, as equal as can be."""

    steps: int
    """T."""
    groups: int
    """G, from 1 to T, which is a window for each step."""

    def group(self, step: int) -> int:
        """The group, from 0, of a step, from 0; beyond the last step it is that of the last."""
        return min(step, self.steps - 1) * self.groups // self.steps

    def steps_of(self, group: int) -> range:
        """The steps of a group, all from 0."""
        first, end = (-(-at * self.steps // self.groups) for at in (group, group + 1))
        return range(first, end)

    @property
    def ends(self) -> list[int]:
        """The last step of each group, from 1."""
        return [self.steps_of(group).stop for group in range(self.groups)]

    def runs(self, first: int, end: int) -> Iterator[tuple[int, slice]]:
        """The groups of steps from `first` to before `end`; and which of these steps each has, as a slice."""
        start = first
        while start < end:
            group = self.group(start)
            last = group == self.groups - 1
            stop = end if last else min(end, self.steps_of(group).stop)
            yield group, slice(start - first, stop - first)
            start = stop

    def windows(self, window: Tensor, first: int, count: int) -> Tensor:
        """Windows of `count` steps from `first` on `[count, ...]`, from those of the groups `[G, ...]`."""
        first = min(first, self.steps)  # all that come later are alike
        if self.groups == self.steps and first + count <= self.steps:
            return window[first : first + count]
        if torch.compiler.is_compiling():
            return window[[self.group(step) for step in range(first, first + count)]]
        return window[_groups(self, first, count, window.device)]


@lru_cache(maxsize=4096)
def _groups(sharing: Sharing, first: int, count: int, device: torch.device) -> Tensor:
    """The groups of steps `[count]`, made once: to copy them in every pass would stop a GPU's stream."""
    return torch.tensor([sharing.group(step) for step in range(first, first + count)], device=device)


def fitted(saved: Tensor, count: int) -> Tensor:
    """Saved windows `[S, ...]` as those of a layer that has `count` of them, by the one rule."""
    if len(saved) == count:
        return saved
    return saved[torch.arange(count, device=saved.device).clamp(max=len(saved) - 1)]
