"""Metrics against those of torchmetrics, and means of plain numbers."""

import math

import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from a2sg.data.sets import IGNORE
from a2sg.training.metrics import Mean, MeanIoU


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
