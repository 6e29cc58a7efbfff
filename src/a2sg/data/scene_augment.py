"""Augmentation of scenes: image and mask together, batched, on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.data.sets import IGNORE
from a2sg.errors import require, require_share

LUMA = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class SceneAugment:
    """Resizes each scene by a random factor, cuts its own size out, mirrors it, and changes its colours.

    The usual pipeline of ADE20K, in one sampling: images bilinear, masks by the nearest pixel. A scene that
    got smaller than the window lies anywhere in it; around it the image is black and the mask `IGNORE`.
    Brightness is added, contrast and saturation (of RGB) are factors, each for half of the images by chance.

    Args:
        smallest: least factor of size.
        largest: greatest factor of size.
        flip: probability of the mirror, left to right.
        brightness: added at most, where images reach from 0 to 1.
        contrast: factors reach from 1 - contrast to 1 + contrast.
        saturation: the same for saturation.

    Raises:
        InputError: for a value out of range.
    """

    smallest: float = 0.5
    largest: float = 2.0
    flip: float = 0.5
    brightness: float = 0.125
    contrast: float = 0.5
    saturation: float = 0.5

    def __post_init__(self) -> None:
        require(
            0 < self.smallest <= self.largest,
            f"factors of size must be above 0 and in order, not {self.smallest} to {self.largest}",
        )
        for name in ("flip", "brightness", "contrast", "saturation"):
            require_share(name, getattr(self, name))

    def __call__(self, images: Tensor, masks: Tensor, epoch: int = 0) -> tuple[Tensor, Tensor]:
        """Augmented images and masks. Numbers are drawn by torch's CPU generator: the same for every device.

        Args:
            images: `[B, C, H, W]`, floating point from 0 to 1.
            masks: `[B, H, W]`, class numbers or `IGNORE`.
            epoch: not looked at: scenes are changed in every epoch alike.
        """
        images, masks = self._placed(images, masks)
        return self._coloured(images, masks != IGNORE), masks

    def _placed(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        batch = len(images)
        # Factors as likely below 1 as above it are uniform in their logarithm.
        low, high = torch.tensor([self.smallest, self.largest]).log()
        factor = (low + (high - low) * torch.rand(batch)).exp()
        mirror = torch.where(torch.rand(batch) < self.flip, -1.0, 1.0)
        room = (1 - 1 / factor).abs()
        theta = torch.zeros(batch, 2, 3)  # from the window to the scene, both from -1 to 1
        theta[:, 0, 0] = mirror / factor
        theta[:, 1, 1] = 1 / factor
        theta[:, :, 2] = room[:, None] * (2 * torch.rand(batch, 2) - 1)
        grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
        # Outside, `grid_sample` gives 0: classes are moved so that 0 means IGNORE.
        classes = (masks - IGNORE).to(images.dtype)[:, None]
        moved = F.grid_sample(classes, grid, mode="nearest", align_corners=False)[:, 0]
        placed = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
        return placed, moved.to(masks.dtype) + IGNORE

    def _coloured(self, images: Tensor, inside: Tensor) -> Tensor:
        def drawn(most: float) -> Tensor:
            amount = most * (2 * torch.rand(len(images), 1, 1, 1) - 1)
            return (amount * (torch.rand(len(images), 1, 1, 1) < 0.5)).to(images)

        images = images + drawn(self.brightness)
        images = images * (1 + drawn(self.contrast))
        if images.shape[1] == len(LUMA):
            grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
            images = grey + (images - grey) * (1 + drawn(self.saturation))
        return images.clamp(0, 1) * inside[:, None]
