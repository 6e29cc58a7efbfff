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

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch, see `Augmentation`; scenes are changed in every epoch alike."""

        def amount(most: float) -> np.ndarray:
            return random.uniform(-most, most, batch) * (random.random(batch) < 0.5)

        # Factors as likely below 1 as above it are uniform in their logarithm.
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
        images, masks = self._placed(images, labels, draws)
        return self._coloured(images, masks != IGNORE, draws), masks

    def _placed(self, images: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        scale = (1 / draws["factor"])[:, None, None]
        mirror = 1 - 2 * draws["mirror"][:, None, None].float()
        # From the window to the scene, both from -1 to 1.
        y, x = ((2 * torch.arange(side, device=images.device) + 1) / side - 1 for side in (height, width))
        x = mirror * scale * x + draws["right"][:, None, None]
        y = scale * y[:, None] + draws["down"][:, None, None]
        grid = torch.stack(torch.broadcast_tensors(x, y), 3).to(images.dtype)
        # Outside, `grid_sample` gives 0: classes are moved so that 0 means IGNORE.
        classes = (masks - IGNORE).to(images.dtype)[:, None]
        moved = F.grid_sample(classes, grid, mode="nearest", align_corners=False)[:, 0]
        placed = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
        return placed, moved.to(masks.dtype) + IGNORE

    def _coloured(self, images: Tensor, inside: Tensor, draws: Draws) -> Tensor:
        brightness, contrast, saturation = (
            by_sample(draws[name]).to(images.dtype) for name in ("brightness", "contrast", "saturation")
        )
        images = (images + brightness) * (1 + contrast)
        if images.shape[1] == len(LUMA):
            red, green, blue = images.unbind(1)
            grey = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]
            images = grey + (images - grey) * (1 + saturation)
        return images.clamp(0, 1) * inside[:, None]
