"""What an observed iteration leaves in the history: a row per layer and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from a2sg.kernels.sums import Sums
from a2sg.window.objectives import cv_from_sums
from a2sg.window.solve import Solution

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
)
"""See `a2sg.AdaptiveWindows.step`."""


def history_rows(
    iteration: int,
    places: Sequence[tuple[str, int, bool]],
    found: Solution,
    windows: Tensor,
    before: Tensor,
    in_use: Tensor,
    passing: Tensor,
    biases: Sequence[float | None],
) -> list[dict[str, Any]]:
    """Plain rows with the keys `COLUMNS`.

    Args:
        iteration: which.
        places: layer, step from 1, and whether it is the last one, of every row.
        found: what was found.
        windows: as set `[rows]`.
        before: as used on this iteration `[rows]`.
        in_use: sums of the gradients on this iteration `[rows, 6]`.
        passing: how many of them are not 0 `[rows]`.
        biases: of the shapes now in use.
    """
    used = found.sgv.shape[1] - 1
    cv, norm = cv_from_sums(in_use), in_use[:, Sums.SQUARE].sqrt()
    sparsity = 1 - passing / in_use[:, Sums.COUNT]
    rows = []
    for row, (layer, step, last) in enumerate(places):
        at = int(found.choice[row])
        values = (
            iteration,
            layer,
            step,
            windows[row].item(),
            _plain(found.sgv[row, at]),
            None if last else _plain(found.tgc[row, at]),
            before[row].item(),
            _plain(found.sgv[row, used]),
            None if last else _plain(found.tgc[row, used]),
            found.reasons[row],
            biases[row],
            _plain(cv[row]),
            _plain(norm[row]),
            _plain(sparsity[row]),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _plain(score: Tensor) -> float | None:
    """A number for a table; None where it is not one."""
    return score.item() if torch.isfinite(score) else None
