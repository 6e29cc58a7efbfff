"""Metrics against those of torchmetrics, and means of plain numbers."""

import math

import pytest
import torch
from sklearn.metrics import r2_score
from torchmetrics.classification import MulticlassJaccardIndex

from a2sg.data.sets import IGNORE
from a2sg.training.metrics import R2, Mean, MeanIoU


def test_a_mean_has_weights():
    mean = Mean()
    for value, weight in ((1.0, 3), (5.0, 1)):
        mean.update(torch.tensor(value), weight)
    assert mean.compute().item() == 2.0
    mean.reset()
    mean.update(torch.tensor(7.0), 2)
    assert mean.compute().item() == 7.0


def test_a_mean_does_not_hide_nan():
    mean = Mean()
    for value in (1.0, math.nan, 1.0):
        mean.update(torch.tensor(value), 4)
    assert math.isnan(mean.compute())


@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_the_iou_is_torchmetrics(ignored):
    torch.manual_seed(0)
    ours, theirs = MeanIoU(5), MulticlassJaccardIndex(5, ignore_index=IGNORE)
    for _ in range(3):
        preds, target = torch.randint(0, 4, (2, 6, 7)), torch.randint(0, 5, (2, 6, 7))
        target[torch.rand(target.shape) < ignored] = IGNORE
        ours.update(preds, target)
        theirs.update(preds, target)
    assert torch.equal(ours.confmat, theirs.confmat)
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_r2_is_that_of_scikit_learn(shift):
    torch.manual_seed(0)
    target = torch.randn(60, 3) * torch.tensor([0.1, 1.0, 20.0]) + shift
    preds = target + torch.randn(60, 3) * torch.tensor([0.05, 2.0, 1.0])
    ours = R2(3)
    for at in (slice(0, 7), slice(7, 60)):
        ours.update(preds[at], target[at])
    expected = r2_score(target.double(), preds.double())
    assert ours.compute().item() == pytest.approx(expected, rel=1e-6)


def test_r2_of_targets_far_from_zero():
    """Such as years, or positions on a map: float32 holds them, their squares do not show the variance."""
    target = torch.tensor([[1e6], [1e6 + 1], [1e6 + 2]])
    ours = R2(1, target[0])
    ours.update(target + 0.5, target)
    assert ours.compute().item() == pytest.approx(r2_score(target.double(), target.double() + 0.5))


def test_r2_of_targets_that_are_all_alike():
    for miss, expected in ((0.0, 1.0), (1.0, 0.0)):
        ours = R2(2)
        ours.update(torch.tensor([[3.0, 1.0], [3.0, 1.0]]) + miss, torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
        assert ours.compute().item() == expected
