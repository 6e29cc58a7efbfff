"""Standardisation of pixels, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """Scales uint8 pixels to 0 .. 1, then subtracts `mean` and divides by `std`.

    Args:
        mean: per channel; empty leaves values as they are.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        # The data set provides them, so they are not stored in checkpoints.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardised images.

        Args:
            images: `[..., C, H, W]`, uint8, or floating point from 0 to 1.
        """
        images = to_unit(images)
        return (images - self.mean) / self.std if len(self.mean) else images


def to_unit(images: Tensor) -> Tensor:
    """uint8 pixels as float32 from 0 to 1; images of another type unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
