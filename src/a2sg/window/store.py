"""The sums of all layers in one tensor: one call clears them, one adds them over ranks, one reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable

from a2sg.devices import capturing, with_float64
from a2sg.kernels.tracing import one_graph
from a2sg.ranks import add_up
from a2sg.window.observer import Observer
from a2sg.window.site import Site


class Store:
    """Holds the tables of some observers, followed by their `passing`; the observers then hold views of it.

    Args:
        observers: whose sums to hold.
        site: its device is where the sums are kept; the CPU if that device has no float64.
    """

    def __init__(self, observers: Sequence[Observer], site: Site) -> None:
        self.observers = observers
        self.site = site
        tables = [observer.table for observer in observers]
        self.flat = torch.cat([part.flatten() for part in [*tables, *(one.passing for one in observers)]])
        self._tables = sum(table.numel() for table in tables)
        self._passes: list[int] = []
        """The backward passes that are adding sums: a reentrant checkpoint runs one within another."""
        self.hold()

    def hold(self) -> None:
        """Let the observers add to this store; again after a copy, which may have parted them."""
        for observer in self.observers:
            observer.settle = self.settle
        self._share()

    @property
    def tables(self) -> Tensor:
        """All tables, flat."""
        return self.flat[: self._tables]

    @property
    def passing(self) -> Tensor:
        """All of `Observer.passing`: a number for each layer and step."""
        return self.flat[self._tables :]

    def settle(self) -> None:
        """Follow the model to its device. What a backward pass adds from now on is undone if it fails."""
        device = with_float64(self.site.window.device)
        if self.flat.device != device:
            self.flat = self.flat.to(device)
            self._share()
        task = torch._C._current_graph_task_id()
        if task != -1 and task not in self._passes and not (capturing(device) or one_graph()):
            self._passes.append(task)
            end = _End(self, task, self.flat.clone())
            Variable._execution_engine.queue_callback(end)

    def leave(self, task: int, before: Tensor | None) -> None:
        """A backward pass has ended; if it failed, the sums are again those before it."""
        if task in self._passes:  # if not, a failed one around it has ended first
            del self._passes[self._passes.index(task) :]
            if before is not None:
                self.flat.copy_(before)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_passes": []}

    def add_ranks(self) -> None:
        """Add up over the ranks of a distributed run, all on the model's device, whatever they observed."""
        self.settle()
        add_up(self.flat)

    def clear(self) -> None:
        """Set all sums to 0."""
        self.flat.zero_()

    def _share(self) -> None:
        tables, passing = self.tables, self.passing
        for one in self.observers:
            table, tables = tables.tensor_split([one.table.numel()])
            own, passing = passing.tensor_split([one.passing.numel()])
            one.table, one.passing = table.view(one.table.shape), own


class _End:
    """The end of a backward pass: autograd calls this and lets go of it, or only lets go of it on failure."""

    def __init__(self, store: Store, task: int, before: Tensor) -> None:
        self._store = store
        self._task = task
        self._before: Tensor | None = before

    def __call__(self) -> None:
        self._before = None

    def __del__(self) -> None:
        self._store.leave(self._task, self._before)
