"""RandAugment (Cubuk et al., 2020), batched on the device; operations are drawn per image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from kornia import enhance
from torch import Tensor

from a2sg.data.draws import Drawn, Draws, by_sample
from a2sg.errors import require, require_count, require_share

STRONGEST = 10.0
"""Largest magnitude; the smallest is 0."""

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes images `[N, C, H, W]` (0 to 1), a strength per image (-1 to 1; 0 is weakest), a fill per channel."""


def _sampled(images: Tensor, x: Tensor, y: Tensor, fill: Tensor) -> Tensor:
    """The image sampled bilinearly at other places; `x` and `y` `[N, H, W]` are pixels from the centre."""
    height, width = images.shape[-2:]
    grid = torch.stack(torch.broadcast_tensors(2 / width * x, 2 / height * y), 3)
    fill = fill[:, None, None]
    # Outside the image, `grid_sample` gives 0.
    return F.grid_sample(images - fill, grid, mode="bilinear", align_corners=False) + fill


def _centred(images: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels from the centre: x `[1, W]` and y `[H, 1]`."""
    y, x = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in images.shape[-2:])
    return x[None], y[:, None]


def _by_image(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]


# Where the pixels of a moved image come from: the inverse of the operation.


def _rotate(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    (x, y), angle = _centred(images), _by_image(strength) * math.radians(30)
    return _sampled(images, angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y, fill)


def _shear_x(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    x, y = _centred(images)
    return _sampled(images, x - 0.3 * _by_image(strength) * y, y, fill)


def _shear_y(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    x, y = _centred(images)
    return _sampled(images, x, y - 0.3 * _by_image(strength) * x, fill)


def _translate_x(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    x, y = _centred(images)
    return _sampled(images, x - 0.45 * images.shape[3] * _by_image(strength), y, fill)


def _translate_y(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    x, y = _centred(images)
    return _sampled(images, x, y - 0.45 * images.shape[2] * _by_image(strength), fill)


def _factor(strength: Tensor) -> Tensor:
    """Factor of an enhancement: above 1 strengthens, below 1 weakens, by up to 0.9."""
    return 1 + 0.9 * strength


def _brightness(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_brightness_accumulative(images, _factor(strength))


def _contrast(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_contrast_with_mean_subtraction(images, _factor(strength))


def _colour(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_saturation_with_gray_subtraction(images, _factor(strength))


def _sharpness(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    # Shifted images are added up: a convolution rounds one image alone otherwise than among others.
    smooth = images.clone()
    rows, columns = (range(side - 2) for side in images.shape[-2:])
    if rows and columns:
        shifts = [images[..., y : y + len(rows), x : x + len(columns)] for y in range(3) for x in range(3)]
        smooth[..., 1:-1, 1:-1] = sum(shifts, 4 * shifts[4]) / 13
    return (smooth + by_sample(_factor(strength)) * (images - smooth)).clamp(0, 1)


def _auto_contrast(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.equalize(images)


def _invert(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return 1 - images


def _posterize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    bits = 4 - (4 * strength.abs()).long()
    return enhance.posterize(images, bits.clamp(min=1))  # 0 bits would be a black image


def _solarize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.solarize(images, 1 - strength.abs())


def _solarize_add(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    added = 110 / 255 * by_sample(strength.abs())
    return torch.where(images < 128 / 255, (images + added).clamp(max=1), images)


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": _auto_contrast,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "rotate": _rotate,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""Operations, with the ranges of timm's "increasing" RandAugment; but shears are about the centre."""
NONE = len(OPERATIONS)
"""Stands for no operation."""


@dataclass(frozen=True)
class RandAugment:
    """Draws `count` operations for each image, and applies each with some probability, in order.

    Args:
        count: n, at least 1.
        magnitude: m, mean strength, 0 to 10.
        spread: standard deviation of the strength, at least 0; strengths are clipped to 0 .. 10.
        probability: of applying a drawn operation, 0 to 1.

    Raises:
        InputError: for a value out of range.
    """

    count: int
    magnitude: float
    spread: float
    probability: float

    def __post_init__(self) -> None:
        require_count("augment.randaugment", self.count)
        require(
            0 <= self.magnitude <= STRONGEST,
            f"augment.magnitude must be from 0 to {STRONGEST:g}, not {self.magnitude}",
        )
        require(self.spread >= 0, f"augment.magnitude_spread must be at least 0, not {self.spread}")
        require_share("augment.randaugment_share", self.probability)

    def draw(self, random: np.random.Generator, batch: int) -> Drawn:
        """`count` operations and their strengths for each image.

        Args:
            random: the random generator.
            batch: number of images.
        """
        drawn: Drawn = {}
        for turn in range(self.count):
            operation = random.integers(len(OPERATIONS), size=batch)
            done = random.random(batch) < self.probability
            strength = random.normal(self.magnitude, self.spread, batch).clip(0, STRONGEST) / STRONGEST
            drawn[f"operation_{turn}"] = np.where(done, operation, NONE)
            drawn[f"strength_{turn}"] = np.where(random.random(batch) < 0.5, -strength, strength)
        return drawn

    def __call__(self, images: Tensor, fill: Tensor, draws: Draws) -> Tensor:
        """Augmented images.

        Args:
            images: `[B, C, H, W]`, floating point from 0 to 1.
            fill: value of the pixels that a moved image uncovers, per channel `[C]`, on the images' device.
            draws: of `draw`.
        """
        for turn in range(self.count):
            images = self._once(images, fill.to(images.dtype), draws, turn)
        return images

    def _once(self, images: Tensor, fill: Tensor, draws: Draws, turn: int) -> Tensor:
        drawn = draws.host[f"operation_{turn}"]
        # Images with the same operation go through it together; the host knows how many without a GPU sync.
        sizes = np.bincount(drawn, minlength=NONE + 1)[:NONE].tolist()
        chosen = draws[f"operation_{turn}"].argsort(stable=True)[: sum(sizes)]
        strengths = draws[f"strength_{turn}"][chosen].to(images.dtype).split(sizes)
        parts = zip(OPERATIONS.values(), images[chosen].split(sizes), strengths, strict=True)
        changed = [operation(part, strength, fill) for operation, part, strength in parts if len(part)]
        return images.index_copy(0, chosen, torch.cat(changed)) if changed else images
