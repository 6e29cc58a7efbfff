"""From the sums of several ranks to those that one process would get from the joined batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist

from a2sg.errors import require_choice
from a2sg.kernels.sums import Sums
from a2sg.ranks import distributed
from a2sg.window.site import Site
from a2sg.window.store import Store

if TYPE_CHECKING or dist.is_available():
    from torch.distributed.algorithms.join import Join, Joinable, JoinHook
else:  # torch was built without it: there is nothing to join
    Join, Joinable, JoinHook = None, object, object

Reduction = Literal["mean", "sum"]
"""What the loss of a rank is: the mean over its samples, as under DDP, or their part of one sum."""

POWERS = {Sums.DELTA: 1, Sums.ABS: 1, Sums.SQUARE: 2, Sums.CROSS: 2, Sums.LATER: 2}
"""The power of the loss's scale with which each sum grows; the count does not grow."""


def join_ranks(store: Store, reduction: Reduction) -> None:
    """Add up the sums of all ranks, in one call; all ranks get exactly the same result.

    The mean over a rank's n samples has the weight n/N in the mean over all N. n need not be passed: for
    every layer it is proportional to the number of elements that the rank counted at the first step, which
    every sequence reaches. A rank without samples has no weight.

    Args:
        store: on entry the sums `[rows, C, 6]` of this rank, on return those of the joined batch.
        reduction: what the loss of a rank is.
    """
    require_choice("reduction", reduction, ("mean", "sum"))
    weigh = distributed() and reduction == "mean"
    if weigh:
        store.settle()
        _scale(store, 1)
    store.add_ranks()
    if weigh:
        _scale(store, -1)


def _scale(store: Store, sign: int) -> None:
    """Multiply every sum by the loss's scale, its layer's count at the first step, or divide by it."""
    counts = []
    for observer in store.observers:
        own = observer.table[..., Sums.COUNT]
        counts.append(torch.where(own[:1] > 0, own[:1], own).flatten())  # only later steps may be observed
    count = torch.cat(counts).clamp_min(1)
    sums = store.tables.view(-1, len(Sums))
    for column, power in POWERS.items():
        sums[:, column] *= count ** (sign * power)


class JoinableWindows(Joinable):
    """What torch's `Join` needs from windows: a rank out of batches ends iterations with the others."""

    sites: dict[str, Site]

    @abstractmethod
    def _end_iteration(self) -> bool: ...

    def _tell_others(self) -> None:
        """Tell ranks that have run out of batches that an iteration ends."""
        if distributed():
            Join.notify_join_context(self)

    def join_hook(self, **_: object) -> JoinHook:
        return _Shadow(self._end_iteration)

    @property
    def join_device(self) -> torch.device:
        return next(iter(self.sites.values())).window.device

    @property
    def join_process_group(self) -> Any:
        return dist.group.WORLD


class _Shadow(JoinHook):
    def __init__(self, end_iteration: Callable[[], object]) -> None:
        self.main_hook = end_iteration  # type: ignore[method-assign,assignment]
