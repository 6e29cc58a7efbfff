"""What a search of windows promises on its batch, and how much remains once all windows are set."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from a2sg.errors import require, require_count
from a2sg.progress import progress
from a2sg.study.measure.objective import Batch, Forward, Loss
from a2sg.study.measure.variation import Estimate, estimate
from a2sg.window import AdaptiveWindows

Scores = list[dict[str, Any]]
OWN = ("every", "start", "batches")
"""Options of the search that are set here."""


@dataclass(frozen=True)
class SearchGain:
    """A layer at one step, over several searches that all start from the windows in use.

    The gain of a spatial step is the fall of SGV as a logarithm, -ln(SGV / SGV before); the gain of another
    step is the rise of TGC. What is kept on the same batch differs from what was promised because all windows
    change at once, including those of later layers and steps. What is kept on the next batch also differs by
    chance.

    Attributes:
        layer: name of its module.
        step: from 1 to T.
        spatial: whether SGV is searched here, else TGC.
        window: in use before.
        windows: what each search found; None where it kept the window.
        promised: gain at the found window, all else as before, on the search's own batch.
        same: gain on that batch once every window is set.
        other: gain on the batch of the next search once every window is set.
    """

    layer: str
    step: int
    spatial: bool
    window: float
    windows: Sequence[float | None]
    promised: Estimate
    same: Estimate
    other: Estimate


def search_gain(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    *,
    forward: Forward | None = None,
    group: int = 1,
    show_progress: bool | None = None,
    **options: Any,
) -> list[SearchGain]:
    """Search the windows of a model on one batch after another, each time from the same windows.

        for step in search_gain(model, batches, criterion):
            print(step.layer, step.step, step.windows, step.promised.mean, step.other.mean)

    Nothing is trained: copies of the model run forward and backward, in the mode that the model is in.

    Args:
        model: holds spiking neurons of a2sg, or was given to `a2sg.adapt`.
        batches: pairs (inputs, targets) of one size, on the model's device; at least 2 · `group`. Leftover
            batches that do not fill a group are left out.
        loss: called with output and targets; gives one number.
        forward: called with the copy and the inputs, if it is not `model(inputs)`.
        group: batches per search; their sums add up (the paper: 1).
        show_progress: None shows a bar on a terminal.
        options: of `AdaptiveWindows`, such as `high`, `spatial` or `gradient`.

    Returns:
        Per adapted layer and step, in the order of the model.

    Raises:
        InputError: for too few batches, an option that is not allowed, or a model without neurons.
    """
    for name in OWN:
        require(name not in options, f"{name} is not an option here: every group is one search")
    size, every = require_count("group", group), list(batches)
    groups = [every[at : at + size] for at in range(0, len(every) - size + 1, size)]
    require(
        len(groups) > 1,
        f"{len(every)} batches make {len(groups)} groups of {size}: give at least {2 * size}, so that each "
        "search can be tried on another's",
    )
    watch = {"spatial": False, "temporal": False, "gradient": options.get("gradient", "spike")}
    found: list[tuple[Scores, Scores, Scores]] = []
    rows = None
    for at, mine in progress(list(enumerate(groups)), "searches", len(groups), show_progress):
        twin = copy.deepcopy(model)
        search = _observed(twin, mine, loss, forward, options)
        rows = search.rows
        same = _observed(twin, mine, loss, forward, watch)
        other = _observed(twin, groups[(at + 1) % len(groups)], loss, forward, watch)
        found.append((search.history, same.history, other.history))
    assert rows is not None
    return [_gain(place, bool(rows.spatial[place]), found) for place in rows.wanted.nonzero()[:, 0].tolist()]


def _observed(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, forward: Forward | None, options: dict[str, Any]
) -> AdaptiveWindows:
    """One search over the batches; with both parts off it only watches."""
    windows = AdaptiveWindows(model, every=len(batches), start=0, batches=len(batches), **options)
    for inputs, targets in batches:
        model.zero_grad()
        loss(forward(model, inputs) if forward else model(inputs), targets).backward()
        windows.step()
    windows.detach()
    return windows


def _gain(place: int, spatial: bool, found: Sequence[tuple[Scores, Scores, Scores]]) -> SearchGain:
    score = "sgv" if spatial else "tgc"

    def gain(before: float | None, after: float | None) -> float | None:
        if before is None or after is None:
            return None
        if not spatial:
            return after - before
        return math.log(before / after) if before > 0 and after > 0 else None

    searches, same, other = ([scores[place] for scores in kind] for kind in zip(*found, strict=True))
    before = [row[f"{score}_before"] for row in searches]
    return SearchGain(
        layer=searches[0]["layer"],
        step=searches[0]["step"],
        spatial=spatial,
        window=searches[0]["window_before"],
        windows=[None if row["kept"] else row["window"] for row in searches],
        promised=estimate(map(gain, before, [row[score] for row in searches])),
        same=estimate(map(gain, before, [row[f"{score}_before"] for row in same])),
        other=estimate(map(gain, [*before[1:], before[0]], [row[f"{score}_before"] for row in other])),
    )
