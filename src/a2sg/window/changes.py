"""What has changed in a model since its windows were made: layers that are lost, or not yet searched."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import nn

from a2sg.errors import many
from a2sg.window.observer import Observer
from a2sg.window.site import Site, sites_of

log = logging.getLogger("a2sg")


class Changes:
    """Reports each changed layer once.

    Attributes:
        lost: names of layers whose observer was replaced or removed.
        added: names of neurons that were put into the model later.
    """

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.added: set[str] = set()

    def report(
        self, iteration: int, model: nn.Module, sites: Mapping[str, Site], observers: Mapping[str, Observer]
    ) -> None:
        """Warn about what has changed since the last report, at the end of an observed iteration."""
        lost = {name for name, observer in observers.items() if sites[name].observer is not observer}
        if fresh := lost - self.lost:
            log.warning(
                "iteration %d: %s not observed, since something else replaced the observers: %s",
                iteration,
                "1 layer was" if len(fresh) == 1 else f"{len(fresh)} layers were",
                ", ".join(sorted(fresh)),
            )
        self.lost |= lost
        mine = {id(site) for site in sites.values()}
        added = {name for name, site in sites_of(model).items() if id(site) not in mine}
        if fresh := added - self.added:
            log.warning(
                "iteration %d: windows of %s are not searched, since these neurons were put into the model "
                "after the rule was made: make the rule again: %s",
                iteration,
                many(len(fresh), "layer"),
                ", ".join(sorted(fresh)),
            )
        self.added |= added
