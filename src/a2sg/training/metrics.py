"""Metrics that add up on the device. None of them reads a value from it before the epoch ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from a2sg.data import ImageData


class Mean(Metric):
    """The mean of numbers with weights; NaN if there are none, or one is NaN.

    The one in torchmetrics checks for NaN every time.
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
            value: the number, a 0-d tensor.
            weight: its weight.
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
        """Count pixels by label and prediction; all of them, since only the device knows which matter."""
        pairs = torch.where(target >= 0, self.classes * target + preds, self.classes**2).flatten()
        counts = self.confmat.new_zeros(self.classes**2 + 1)
        counts.scatter_add_(0, pairs, torch.ones_like(pairs))
        self.confmat += counts[:-1].view_as(self.confmat)


class R2(Metric):
    """R², the share of the targets' variance that is explained, the mean over K numbers; at most 1.

    1 - Σ(y - ŷ)² / Σ(y - mean y)². Targets that are all equal give 1 if they are met, else 0.

    Args:
        count: K.
        origin: a usual target `[K]`. Sums are of differences from it: squares of targets that are all large
            would leave nothing of their variance.
    """

    samples: Tensor
    sums: Tensor
    origin: Tensor

    def __init__(self, count: int, origin: Tensor | None = None) -> None:
        super().__init__()
        zero = torch.zeros(count, dtype=torch.float64)
        self.register_buffer("origin", zero if origin is None else origin.double(), persistent=False)
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(3, count, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add predictions and targets, `[B, K]`."""
        preds, target = preds.double() - self.origin, target.double() - self.origin
        self.samples += len(target)
        self.sums += torch.stack([target, target.square(), (target - preds).square()]).sum(1)

    def compute(self) -> Tensor:
        total, squares, errors = self.sums
        spread = squares - total.square() / self.samples
        alike = spread <= 1e-12 * squares  # only rounding is left
        of_alike = (errors <= 1e-12 * (squares + self.samples * self.origin.square())).double()
        return torch.where(alike, of_alike, 1 - errors / spread.where(~alike, 1.0)).mean()


def build_metric(data: ImageData) -> Metric:
    """What is right, of all samples or pixels; for scenes the mean IoU of the classes that occur; or R²."""
    classes = len(data.classes)
    if data.task == "regression":
        return R2(classes, torch.as_tensor(data.train[0][1]))
    if data.task == "segmentation":
        return MeanIoU(classes)
    options: dict[str, Any] = {"average": "micro", "validate_args": False}
    return MulticlassAccuracy(classes, **options)
