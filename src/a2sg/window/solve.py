"""From the sums of all layers and steps to their windows, in one batched call without waiting for a GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.sums import Sums
from a2sg.window.objectives import SGV, TGC, Objective
from a2sg.window.search import Search, first_best

REASONS = ("", "not finite", "no gradient", "all zero", "not reached")
"""Why a row kept its window; "" where one was chosen, or none was to be.

`not reached`: no sequence was that long.
"""


class Rows(NamedTuple):
    """What the rows of a table stand for: each is one layer at one step, or at a group of steps."""

    spatial: Tensor
    """Whether the spatial objective judges a row `[rows]`; else the temporal one does."""
    wanted: Tensor
    """Whether the row's window is to be adapted `[rows]`."""
    anchor: Tensor
    """The row that decides the layer's bias `[rows]`."""
    behind: Tensor
    """The row of the layer behind at the same steps `[rows]`; -1 if there is none."""
    layer: Tensor
    """The number of the row's layer `[rows]`."""
    varies: Tensor
    """Whether sequences may end before the row's steps `[rows]`."""

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(*(part.to(device) for part in self))


class Solution(NamedTuple):
    """The result of a search, per row."""

    choice: Tensor
    """The candidate that was chosen; if the window was kept, the last one, which is the window in use."""
    reason: Tensor
    """Why the window was kept: an index into `REASONS`."""


def with_behind(sums: Tensor, behind: Tensor) -> Tensor:
    """Sums `[rows, C, 6]` with one more column `[rows, C, 7]`, as objectives take them: see `BEHIND`.

    In memory columns are outermost, since they are always processed column by column.

    Args:
        sums: with those of the window in use last.
        behind: see `Rows.behind`; where there is none, the column is 0.
    """
    squares = sums[:, -1, Sums.SQUARE]
    column = torch.where(behind < 0, 0, squares[behind.clamp_min(0)])
    columns = [sums.movedim(-1, 0), column[None, :, None].expand(1, -1, sums.shape[1])]
    return torch.cat(columns).movedim(0, -1)


def solve(
    sums: Tensor, rows: Rows, search: Search, spatial: Objective = SGV, temporal: Objective = TGC
) -> Solution:
    """The best window of every row.

    Args:
        sums: `[rows, H · L + 1, 7]`, see `with_behind`: for each of H biases the L windows of the lattice,
            followed by the window in use. With more than one bias, a layer takes the one that is best for
            its anchor.
        rows: what the rows stand for, on the device of the sums.
        search: chooses from scores.
        spatial: the objective of spatial rows.
        temporal: that of the others.
    """
    wanted = rows.wanted & ~(torch.where(rows.spatial, spatial.behind, temporal.behind) & (rows.behind < 0))
    own = sums[..., : len(Sums)]
    finite = (0 * own).sum(-1) == 0  # 0 · infinity is NaN; several times faster than isfinite().all(-1)
    used = sums.shape[1] - 1
    choice = torch.full_like(rows.anchor, used)
    if used:
        usable = finite & (sums[..., Sums.ABS] > 0)
        pairs = torch.where(rows.spatial, spatial.pairs, temporal.pairs)
        usable &= ~pairs[:, None] | (sums[..., Sums.LATER] > 0)
        scores = torch.where(rows.spatial[:, None], spatial.score(sums), temporal.score(sums))
        scores = scores.masked_fill(~(usable & scores.isfinite()), -torch.inf)[:, :used]
        found, best = _of_each_bias(scores, search)
        at = first_best(best)[rows.anchor][:, None]
        possible = best.gather(1, at)[:, 0].isfinite()
        if best.shape[1] > 1:  # if the anchor chose none, the layer has no bias for its other windows
            possible &= best[rows.anchor].isfinite().any(-1)
        choice = torch.where(wanted & possible, found.gather(1, at)[:, 0], choice)
    count = sums[:, -1, Sums.COUNT]
    of_layer = torch.zeros_like(count).index_add_(0, rows.layer, count)[rows.layer]
    reason = torch.where(count > 0, 3, torch.where(rows.varies & (of_layer > 0), 4, 2))
    reason = torch.where(finite.all(-1), reason, 1)
    kept = wanted & (choice == used)
    return Solution(choice, torch.where(kept, reason, 0))


def _of_each_bias(scores: Tensor, search: Search) -> tuple[Tensor, Tensor]:
    """For every row and bias `[rows, H]`: the best candidate, and its score."""
    windows = len(search.lattice)
    each = scores.reshape(-1, windows)
    at = search.choose(each)
    best = each.gather(1, at[:, None]).view(len(scores), -1)
    found = at.view(len(scores), -1)
    return found + windows * torch.arange(found.shape[1], device=found.device), best
