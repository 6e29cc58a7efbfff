"""The sums of all layers in one tensor: one call clears them, one adds them over ranks, one reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from a2sg.devices import with_float64
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
        for observer in observers:
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
        """Follow the model to its device."""
        device = with_float64(self.site.window.device)
        if self.flat.device != device:
            self.flat = self.flat.to(device)
            self._share()

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
