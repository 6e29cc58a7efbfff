"""From the sums of all layers and steps to their windows, in one batched call."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.sums import Sums
from a2sg.window.objectives import SGV, TGC, Objective, sgv_from_sums, tgc_from_sums
from a2sg.window.search import Search, first_best


class Rows(NamedTuple):
    """What the rows of a table are; each is one layer at one step."""

    spatial: Tensor
    """Whether a row is judged by the spatial objective `[rows]`; the others are by the temporal one."""
    wanted: Tensor
    """Whether its window is to be adapted `[rows]`."""
    anchor: Tensor
    """The row whose bias is that of the layer `[rows]`."""


class Solution(NamedTuple):
    """What was found, per row."""

    choice: Tensor
    """Which candidate was taken; the last, the window in use, if it was kept."""
    sgv: Tensor
    """At every candidate `[rows, H · L + 1]`."""
    tgc: Tensor
    """Likewise."""
    reasons: list[str]
    """Why nothing could be taken, "" where it was or none was wanted."""


def solve(
    sums: Tensor, rows: Rows, search: Search, spatial: Objective = SGV, temporal: Objective = TGC
) -> Solution:
    """The best window of every row.

    Args:
        sums: `[rows, H · L + 1, 6]` on the CPU: for each of H biases the L windows of the lattice, and behind
            them the window in use. With more biases than one a layer takes that of its anchor's best.
        rows: what they are.
        search: chooses from scores.
        spatial: the objective of spatial rows.
        temporal: that of the others.
    """
    sgv, tgc = sgv_from_sums(sums), tgc_from_sums(sums)
    usable = sums.isfinite().all(-1) & (sums[..., Sums.ABS] > 0)
    pairs = torch.where(rows.spatial, spatial.pairs, temporal.pairs)
    usable &= ~pairs[:, None] | (sums[..., Sums.LATER] > 0)
    used = sums.shape[1] - 1
    choice = torch.full((len(sums),), used)
    if rows.wanted.any():
        scores = torch.where(rows.spatial[:, None], spatial.score(sums), temporal.score(sums))
        scores = scores.masked_fill(~(usable & scores.isfinite()), -torch.inf)[:, :used]
        found, best = _of_each_bias(scores, search)
        at = (torch.arange(len(sums)), first_best(best)[rows.anchor])
        possible = best[at].isfinite()
        if best.shape[1] > 1:  # without its anchor's, a layer has no bias to search the other windows with
            possible &= best[rows.anchor].isfinite().any(-1)
        choice = torch.where(rows.wanted & possible, found[at], choice)
    kept = rows.wanted & (choice == used)
    reasons = [_reason(row) if bad else "" for bad, row in zip(kept, sums, strict=True)]
    return Solution(choice, sgv, tgc, reasons)


def _of_each_bias(scores: Tensor, search: Search) -> tuple[Tensor, Tensor]:
    """For every row and bias `[rows, H]`: which candidate is best, and its score."""
    windows = len(search.lattice)
    each = scores.reshape(-1, windows)
    at = search.choose(each)
    best = each.gather(1, at[:, None]).view(len(scores), -1)
    found = at.view(len(scores), -1)
    return found + windows * torch.arange(found.shape[1]), best


def _reason(sums: Tensor) -> str:
    """Why no candidate of a row could be taken."""
    if not sums.isfinite().all():
        return "not finite"
    return "no gradient" if sums[-1, Sums.COUNT] == 0 else "all zero"
