"""Tables of sums from one float64 evaluation per candidate."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

import reference
from a2sg.kernels.sums import Fill, Observation, Sums, one_step
from a2sg.window.objectives import sgv_from_sums, tgc_from_sums

CANDIDATES = torch.linspace(0.1, 1.0, 100, dtype=torch.float64).float().double()
FEW = CANDIDATES[::11].contiguous()

Expected = tuple[Tensor, list[float], list[float | None]]
"""Rows of the table, SGV and TGC of every candidate; TGC is None without a later gradient."""


def layer(
    size: int, scale: float = 1.0, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, ...]:
    """Potential, upstream, carry and later gradient of one layer at one step."""
    generator = torch.Generator().manual_seed(seed)
    u, g, c, r = torch.randn(4, size, generator=generator, dtype=torch.float64)
    tensors = (1 + 0.7 * u), scale * (0.2 + g), 0.5 * scale * c, scale * (0.5 * g + r)
    return tuple(tensor.to(dtype) for tensor in tensors)


def table_of(fill: Fill, seen: Observation, candidates: Tensor) -> Tensor:
    """The table `[C, 6]` of one step, shown as tensors `[B, ...]`, at candidates `[C]`."""
    parts = (None if part is None else part[None] for part in seen[1:])
    return one_step(fill, Observation(seen.gate, *parts), candidates)  # type: ignore[arg-type]


def brute_force(
    case: reference.Case,
    thresholds: Iterable[float],
    u: Tensor,
    g: Tensor,
    c: Tensor | None,
    r: Tensor | None,
    candidates: Tensor,
) -> Expected:
    """Every gradient, whole, at every candidate: the table, SGV and TGC."""
    u, g = u.double(), g.double()
    rows, sgv, tgc = [], [], []
    for window in candidates:
        delta = g * torch.stack([case.formula(u - threshold, window) for threshold in thresholds]).sum(0)
        delta = delta if c is None else delta + c.double()
        later = torch.zeros_like(delta) if r is None else r.double()
        rows.append(
            [
                delta.numel(),
                delta.sum(),
                delta.abs().sum(),
                (delta**2).sum(),
                (delta * later).sum(),
                (later**2).sum(),
            ]
        )
        sgv.append(reference.sgv(delta))
        tgc.append(None if r is None else reference.tgc(delta, later))
    return torch.tensor(rows, dtype=torch.float64), sgv, tgc


def assert_same(table: Tensor, expected: Expected, rel: float = 1e-6) -> None:
    """Relative to sums of absolute values, where a sum of both signs may cancel."""
    rows, sgv, tgc = expected
    assert table.dtype == torch.float64
    assert table.shape == rows.shape
    for column in (Sums.COUNT, Sums.ABS, Sums.SQUARE, Sums.LATER):
        torch.testing.assert_close(table[:, column], rows[:, column], rtol=rel, atol=0)
    assert ((table[:, Sums.DELTA] - rows[:, Sums.DELTA]).abs() <= rel * rows[:, Sums.ABS]).all()
    norms = (rows[:, Sums.SQUARE] * rows[:, Sums.LATER]).sqrt()
    assert ((table[:, Sums.CROSS] - rows[:, Sums.CROSS]).abs() <= rel * norms).all()
    # A quotient: its errors are those of three sums together.
    assert sgv_from_sums(table).tolist() == pytest.approx(sgv, rel=3 * rel)
    if tgc[0] is not None:
        assert tgc_from_sums(table).tolist() == pytest.approx(tgc, rel=rel, abs=rel * 1e-2)
