"""The rows that an observed iteration adds to the history: one per layer and step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.sums import Sums
from a2sg.window.objectives import cv_from_sums, gain_from_sums, sgv_from_sums, tgc_from_sums
from a2sg.window.solve import REASONS, Solution

COLUMNS = (
    "iteration",
    "layer",
    "step",
    "window",
    "sgv",
    "tgc",
    "window_before",
    "sgv_before",
    "tgc_before",
    "kept",
    "bias",
    "cv",
    "norm",
    "sparsity",
    "gain",
)
"""See `a2sg.AdaptiveWindows.step`."""


class Place(NamedTuple):
    """The layer and step that a row describes."""

    layer: str
    step: int
    """From 1."""
    last: bool
    """Whether this is the last step."""


def report(found: Solution, windows: Tensor, before: Tensor, sums: Tensor, passing: Tensor) -> Tensor:
    """The numbers of all rows `[11, rows]`, for `history_rows`, on the device where they were computed.

    Args:
        found: the solution.
        windows: as set `[rows]`.
        before: as used on this iteration `[rows]`.
        sums: those that were searched `[rows, C, 7]`, the window in use last.
        passing: how many gradients are not 0 under the window in use `[rows]`.
    """
    in_use = sums[:, -1]
    taken = sums.gather(1, found.choice[:, None, None].expand(-1, 1, sums.shape[-1]))[:, 0]
    both = torch.stack([taken, in_use])
    nothing = both[..., Sums.ABS] == 0  # 0/0 is not a 0: a mean over training must not count it
    sgv, sgv_before = sgv_from_sums(both).masked_fill(nothing, torch.nan)
    alone = nothing | (both[..., Sums.LATER] == 0)
    tgc, tgc_before = tgc_from_sums(both).masked_fill(alone, torch.nan)
    return torch.stack(
        [
            windows,
            sgv,
            tgc,
            before,
            sgv_before,
            tgc_before,
            found.reason.double(),
            cv_from_sums(in_use),
            in_use[:, Sums.SQUARE].sqrt(),
            1 - passing / in_use[:, Sums.COUNT],
            gain_from_sums(in_use),
        ]
    )


def history_rows(
    iteration: int, places: Sequence[Place], numbers: Tensor, biases: Sequence[float | None]
) -> list[dict[str, Any]]:
    """Plain rows with the keys `COLUMNS`.

    Args:
        iteration: number of the iteration, from 0.
        places: layer and step of each row.
        numbers: a `report` `[11, rows]`, on the CPU.
        biases: of the shapes now in use, one per row.
    """
    rows = []
    for place, bias, values in zip(places, biases, numbers.T.tolist(), strict=True):
        window, sgv, tgc, before, sgv_before, tgc_before, reason, *of_gradients = values
        row = (
            iteration,
            place.layer,
            place.step,
            window,
            _plain(sgv),
            None if place.last else _plain(tgc),
            before,
            _plain(sgv_before),
            None if place.last else _plain(tgc_before),
            REASONS[int(reason)],
            bias,
            *map(_plain, of_gradients),
        )
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def _plain(score: float) -> float | None:
    """A number for a table; None if it is not finite."""
    return score if math.isfinite(score) else None
