"""From the sums of all layers and steps to their windows, in one batched call."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from a2sg.window.objectives import Sums, sgv_from_sums, tgc_from_sums
from a2sg.window.search import Search


class Solution(NamedTuple):
    """What was found, per row: one layer at one step."""

    choice: Tensor
    """Which of the windows was taken; L, the window in use, if it was kept."""
    sgv: Tensor
    """At every window `[rows, L + 1]`."""
    tgc: Tensor
    """Likewise."""
    reasons: list[str]
    """Why no window could be taken, "" where one was or none was wanted."""


def solve(sums: Tensor, last: Tensor, wanted: Tensor, search: Search) -> Solution:
    """The best window of every row: least SGV at the last step, largest TGC at the others.

    Args:
        sums: `[rows, L + 1, 6]` on the CPU, the window in use behind those of the lattice.
        last: whether a row is a last step `[rows]`.
        wanted: whether its window is to be adapted `[rows]`.
        search: chooses from scores.
    """
    sgv, tgc = sgv_from_sums(sums), tgc_from_sums(sums)
    usable = sums.isfinite().all(-1) & (sums[..., Sums.ABS] > 0)
    usable &= last[:, None] | (sums[..., Sums.LATER] > 0)
    used = sums.shape[1] - 1
    choice = torch.full((len(sums),), used)
    if wanted.any():
        scores = torch.where(last[:, None], -sgv, tgc).masked_fill(~usable, -torch.inf)[:, :used]
        found = scores.isfinite().any(-1)
        choice = torch.where(wanted & found, search.choose(scores), choice)
    kept = wanted & (choice == used)
    reasons = [_reason(row) if bad else "" for bad, row in zip(kept, sums, strict=True)]
    return Solution(choice, sgv, tgc, reasons)


def _reason(sums: Tensor) -> str:
    """Why no candidate of a row could be taken."""
    if not sums.isfinite().all():
        return "not finite"
    return "no gradient" if sums[-1, Sums.COUNT] == 0 else "all zero"
