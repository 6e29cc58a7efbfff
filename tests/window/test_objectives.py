"""SGV and TGC against torch.var and the norms of torch.linalg, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

import a2sg
import reference
from a2sg.errors import InputError
from a2sg.kernels.sums import Sums, sums_of
from a2sg.window.objectives import sgv_from_sums, tgc_from_sums


def normal(*shape, seed=0, scale=1.0, dtype=torch.float64):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_by_hand():
    # mean 1, variance (1 + 1 + 0 + 4 + 4) / 5 = 2, mean|δ| = (0 + 2 + 1 + 1 + 3) / 5 = 1.4
    assert a2sg.sgv(tensor([0.0, 2.0, 1.0, -1.0, 3.0])).item() == pytest.approx(2 / 1.4)
    # 1·2 + 2·(-1) + 2·2 = 4, both norms 3
    assert a2sg.tgc(tensor([1.0, 2.0, 2.0]), tensor([2.0, -1.0, 2.0])).item() == pytest.approx(4 / 9)


@pytest.mark.parametrize("scale", [1, 1e-8, 1e8, 1e-30])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5)])
def test_they_are_what_their_names_say(scale, shape):
    delta, later = normal(*shape, seed=1, scale=scale) + 0.2 * scale, normal(*shape, seed=2, scale=scale)
    assert a2sg.sgv(delta).item() == pytest.approx(reference.sgv(delta), rel=1e-10)
    assert a2sg.tgc(delta, later).item() == pytest.approx(reference.tgc(delta, later), rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_taken_in_float64_and_the_score_is_no_wider_than_asked(dtype):
    delta = (1 + normal(100_001, seed=3, scale=1e-2, dtype=torch.float32)).to(dtype)
    for score, expected in (
        (a2sg.sgv(delta), reference.sgv(delta)),
        (a2sg.tgc(delta, delta.flip(0)), reference.tgc(delta, delta.flip(0))),
    ):
        assert score.dim() == 0
        assert score.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert score.item() == pytest.approx(expected, rel=1e-6)


def test_sgv_is_of_the_size_of_the_gradient_and_tgc_of_none():
    delta, later = normal(50, seed=4), normal(50, seed=5)
    assert a2sg.sgv(delta * 2**-30).item() == a2sg.sgv(delta).item() * 2**-30
    assert a2sg.tgc(delta * 2**-30, later * 2**40).item() == a2sg.tgc(delta, later).item()


def test_nothing_over_nothing_is_nothing():
    zero = torch.zeros(4, 3)
    assert a2sg.sgv(zero).item() == 0
    assert a2sg.tgc(zero, normal(4, 3)).item() == 0
    assert a2sg.tgc(normal(4, 3), zero).item() == 0
    assert a2sg.sgv(torch.full((9,), 0.1)).item() == pytest.approx(0, abs=1e-15)


def test_broken_gradients_show():
    assert not a2sg.sgv(tensor([1.0, math.nan])).isfinite()
    assert not a2sg.sgv(tensor([1.0, math.inf])).isfinite()
    assert not a2sg.tgc(tensor([1.0, math.nan]), tensor([1.0, 2.0])).isfinite()


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.integers(0, 1000))
def test_ranges(values, seed):
    delta = tensor(values, dtype=torch.float64)
    later = normal(len(values), seed=seed)
    assert a2sg.sgv(delta).item() >= 0
    assert abs(a2sg.tgc(delta, later).item()) <= 1 + 1e-9
    if delta.square().sum() > 0:
        assert a2sg.tgc(delta, delta).item() == pytest.approx(1)
        assert a2sg.tgc(delta, -delta).item() == pytest.approx(-1)


def test_sums_of_parts_add_up_to_the_sums_of_the_whole():
    delta, later = normal(40, 7, seed=6), normal(40, 7, seed=7)
    whole = sums_of(delta, later)
    parts = sums_of(delta[:13], later[:13]) + sums_of(delta[13:], later[13:])
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    assert whole[Sums.COUNT] == 280
    assert whole[Sums.DELTA].item() == pytest.approx(delta.sum().item())
    assert whole[Sums.ABS].item() == pytest.approx(delta.abs().sum().item())
    assert whole[Sums.SQUARE].item() == pytest.approx(delta.square().sum().item())
    assert whole[Sums.CROSS].item() == pytest.approx((delta * later).sum().item())
    assert whole[Sums.LATER].item() == pytest.approx(later.square().sum().item())


def test_scores_of_many_rows_at_once():
    deltas, later = normal(2, 3, 20, seed=8), normal(20, seed=9)
    rows = torch.stack([torch.stack([sums_of(delta, later) for delta in row]) for row in deltas])
    sgv, tgc = sgv_from_sums(rows), tgc_from_sums(rows)
    assert sgv.shape == tgc.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert sgv[i, j].item() == pytest.approx(reference.sgv(deltas[i, j]))
            assert tgc[i, j].item() == pytest.approx(reference.tgc(deltas[i, j], later))
    assert sgv_from_sums(torch.zeros(4, 6)).tolist() == [0] * 4
    assert tgc_from_sums(torch.zeros(4, 6)).tolist() == [0] * 4


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"\(2, 3\) and \(3, 2\)"):
        a2sg.tgc(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(InputError, match="empty"):
        a2sg.sgv(torch.ones(0))
