"""Augmentation of scenes: image and mask together, batched, on their device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.data.draws import Drawn, Draws, by_sample
from a2sg.data.sets import IGNORE
from a2sg.errors import require, require_share

LUMA = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class SceneAugment:
    """Resizes each scene by a random factor, crops it to its old size, mirrors it, and varies its colours.

    This is the usual pipeline for ADE20K, in one resampling: bilinear for images, nearest pixel for masks. A
    scene that became smaller than the crop is placed in it at random; around it the image is black and the
    mask is `IGNORE`. What is inside the scene but has no class stays in the image, as in evaluation.
    Brightness is added, contrast and saturation (of RGB) are factors; each applies to a random half of the
    images.

    Args:
        smallest: smallest size factor.
        largest: largest size factor.
        flip: probability of the mirror, left to right.
        brightness: largest amount that is added, for images from 0 to 1.
        contrast: factors range from 1 - contrast to 1 + contrast.
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
            f"smallest and largest must be above 0 and in order, not {self.smallest} and {self.largest}",
        )
        for name in ("flip", "brightness", "contrast", "saturation"):
            require_share(name, getattr(self, name))

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch, see `Augmentation`; scenes are changed in the same way in every epoch."""

        def amount(most: float) -> np.ndarray:
            return random.uniform(-most, most, batch) * (random.random(batch) < 0.5)

        # Uniform in the logarithm, so that shrinking is as likely as enlarging for a symmetric range.
        factor = np.exp(random.uniform(math.log(self.smallest), math.log(self.largest), batch))
        room = np.abs(1 - 1 / factor)
        return {
            "factor": factor,
            "mirror": random.random(batch) < self.flip,
            "right": room * random.uniform(-1, 1, batch),
            "down": room * random.uniform(-1, 1, batch),
            "brightness": amount(self.brightness),
            "contrast": amount(self.contrast),
            "saturation": amount(self.saturation),
        }

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Augmented images and masks.

        Args:
            images: `[B, C, H, W]`, floating point from 0 to 1.
            labels: masks `[B, H, W]`, class numbers or `IGNORE`.
            draws: of `draw`.
        """
        images, masks, inside = self._placed(images, labels, draws)
        # A scene that was fitted into its size has black borders too, and they stay black.
        shown = inside & ((masks != IGNORE) | images.any(1))
        return self._coloured(images, shown, draws), masks

    def _placed(self, images: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Images and masks in their new places, and which pixels lie inside the scene."""
        height, width = images.shape[-2:]
        scale = (1 / draws["factor"])[:, None, None]
        mirror = 1 - 2 * draws["mirror"][:, None, None].float()
        # Coordinates of the crop to those of the scene, both from -1 to 1.
        y, x = ((2 * torch.arange(side, device=images.device) + 1) / side - 1 for side in (height, width))
        x = mirror * scale * x + draws["right"][:, None, None]
        y = scale * y[:, None] + draws["down"][:, None, None]
        grid = torch.stack(torch.broadcast_tensors(x, y), 3).to(images.dtype)
        # Outside the scene, `grid_sample` gives 0, so classes are shifted: IGNORE becomes 1.
        classes = (masks - IGNORE + 1).to(images.dtype)[:, None]
        moved = F.grid_sample(classes, grid, mode="nearest", align_corners=False)[:, 0]
        placed = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
        return placed, moved.to(masks.dtype).sub(1).clamp(min=0) + IGNORE, moved > 0

    def _coloured(self, images: Tensor, shown: Tensor, draws: Draws) -> Tensor:
        brightness, contrast, saturation = (
            by_sample(draws[name]).to(images.dtype) for name in ("brightness", "contrast", "saturation")
        )
        images = (images + brightness) * (1 + contrast)
        if images.shape[1] == len(LUMA):
            red, green, blue = images.unbind(1)
            grey = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]
            images = grey + (images - grey) * (1 + saturation)
        return images.clamp(0, 1) * shown[:, None]
