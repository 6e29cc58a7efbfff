"""Whether a saved search fits this one: the same layers and options, also with another number of steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from a2sg.errors import called, require

log = logging.getLogger("a2sg")

WAY_OUT = (
    "make the windows with the options that they were saved with; or leave this state out, and the search "
    "starts again from the windows of the model"
)
"""What to do about a state that does not fit."""


def same_steps(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether saved sums, by layer, can be added to; False, and one line in the log, for another T or G.

    Args:
        mine: sums of this search; their first dimension is G, or T without groups.
        theirs: the saved ones.

    Raises:
        InputError: if they have other layers, or other sums of a step.
    """
    of = "the saved windows belong to another model or search"
    ours, others = (
        ", ".join(repr(name) for name in one if name not in other) or "none"
        for one, other in ((mine, theirs), (theirs, mine))
    )
    require(mine.keys() == theirs.keys(), f"{of}: layers only there: {others}; layers only here: {ours}")
    for name, sums in mine.items():
        saved = theirs[name]
        require(
            sums.shape[1:] == saved.shape[1:],
            f"{of}: the sums of {called(name)}, [T, candidates + 1, …], have the shape {tuple(saved.shape)}, "
            f"here {tuple(sums.shape)}: {WAY_OUT}",
        )
    other = [name for name, sums in mine.items() if len(sums) != len(theirs[name])]
    if not other:
        return True
    begun = any(bool(sums.any()) for sums in theirs.values())
    log.warning(
        "the saved windows are for %d steps or groups (%s), here there are %d: windows are taken in order, "
        "the history stays as it is%s",
        len(theirs[other[0]]),
        called(other[0]),
        len(mine[other[0]]),
        ", and the search that had begun starts again" if begun else "",
    )
    return False
