"""How many elements of δ are not 0: by the norm that a GPU takes, and as torch counts them."""

import pytest
import torch

from a2sg.window import observer
from a2sg.window.observer import nonzero, nonzero_by_norm

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "values",
    [
        [[0.0, -0.0, 0.0], [0.0, 0.0, 0.0]],
        [[1.0, 0.0, -2.0], [3.0, 4.0, 5.0]],
        [[NAN, 0.0, INF], [-INF, NAN, 0.0]],
        [[6e-8, 0.0, 1e-30], [1e-45, -1e-45, 1e-310]],  # the least that one dtype or the other can hold
    ],
    ids=["zeros", "numbers", "not finite", "smallest"],
)
def test_both_ways_count_what_is_not_zero(values, dtype):
    x = torch.tensor(values, dtype=torch.float64).to(dtype)
    expected = (x != 0).sum(1).double()
    assert torch.equal(nonzero_by_norm(x).double(), expected)
    assert torch.equal(nonzero(x.view(2, 3, 1)).double(), expected)


def test_half_precision_counts_more_than_it_could_hold():
    x = torch.ones(1, 70_001, dtype=torch.float16)
    assert nonzero_by_norm(x).item() == 70_001


@pytest.mark.slow
def test_counts_are_exact_beyond_what_float32_counts():
    x = torch.ones(1, 2**24 + 3)
    assert nonzero_by_norm(x).item() == 2**24 + 3


def test_parts_add_up(monkeypatch):
    monkeypatch.setattr(observer, "COUNTED", 7)
    x = torch.randn(3, 24, generator=torch.Generator().manual_seed(0)).relu()
    assert torch.equal(nonzero_by_norm(x), (x != 0).sum(1).double())


def test_nothing_has_no_elements():
    assert nonzero_by_norm(torch.zeros(2, 0)).tolist() == [0, 0]
