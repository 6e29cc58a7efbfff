"""What a run is judged by."""

from __future__ import annotations

from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from a2sg.data import ImageData
from a2sg.data.sets import IGNORE


def build_metric(data: ImageData) -> Metric:
    """What is right, of all samples or pixels; for scenes the mean IoU of the classes that occur."""
    classes = len(data.classes)
    if data.task == "segmentation":
        return MulticlassJaccardIndex(classes, ignore_index=IGNORE)
    return MulticlassAccuracy(classes, average="micro")
