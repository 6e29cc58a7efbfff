"""Metrics that add up on the device. None of them asks it for a value before the epoch ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from a2sg.data import ImageData


class Mean(Metric):
    """The mean of numbers with weights; NaN if there are none, or one is NaN.

    torchmetrics' own looks for NaN every time.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("total", "weight"):
            self.add_state(state, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor | float) -> None:
        """Add a number.

        Args:
            value: it, a 0-d tensor.
            weight: of it.
        """
        self.total += value * weight
        self.weight += weight

    def compute(self) -> Tensor:
        return self.total / self.weight


class MeanIoU(MulticlassJaccardIndex):
    """Intersection over union, the mean over the classes that occur; labels below 0 count for nothing."""

    confmat: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__(classes, validate_args=False)
        self.classes = classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count pixels by label and prediction; all of them, since how many matter only the device knows."""
        pairs = torch.where(target >= 0, self.classes * target + preds, self.classes**2).flatten()
        counts = self.confmat.new_zeros(self.classes**2 + 1)
        counts.scatter_add_(0, pairs, torch.ones_like(pairs))
        self.confmat += counts[:-1].view_as(self.confmat)


def build_metric(data: ImageData) -> Metric:
    """What is right, of all samples or pixels; for scenes the mean IoU of the classes that occur."""
    classes = len(data.classes)
    if data.task == "segmentation":
        return MeanIoU(classes)
    options: dict[str, Any] = {"average": "micro", "validate_args": False}
    return MulticlassAccuracy(classes, **options)
