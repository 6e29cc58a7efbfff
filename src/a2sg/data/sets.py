"""What a data set is, and the registry of them. An entry is called with the data set's own options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from a2sg.registry import Registry

DATA = Registry("data set")


@dataclass(frozen=True)
class ImageData:
    """Images with a class each, split for training and test."""

    train: Dataset[tuple[Tensor, int]]
    """Float images `[C, H, W]` with their labels."""
    test: Dataset[tuple[Tensor, int]]
    classes: tuple[str, ...]
    """Their names, by label."""
    shape: tuple[int, int, int]
    """(C, H, W)."""
    description: str


class ArrayImages(Dataset[tuple[Tensor, int]]):
    """Images held in memory.

    Args:
        images: `[N, C, H, W]`, floating point.
        labels: `[N]`, whole numbers from 0.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = torch.as_tensor(images, dtype=torch.float32)
        self.labels: list[int] = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]
