"""RandAugment (Cubuk et al., 2020), batched on the device: every image gets operations of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from kornia import enhance
from kornia.geometry.transform import warp_affine
from torch import Tensor

from a2sg.errors import require, require_count, require_share

STRONGEST = 10.0
"""Magnitudes go from 0 to this."""

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images `[N, C, H, W]` (0 to 1), strength by image (-1 to 1; 0 is weakest), and fill by channel."""


def _affine(
    images: Tensor, fill: Tensor, linear: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], shift: Tensor
) -> Tensor:
    """Moves pixels by a matrix about the centre, then by `shift` `[N, 2]` pixels, x before y."""
    height, width = images.shape[-2:]
    centre = images.new_tensor([(width - 1) / 2, (height - 1) / 2])
    matrix = torch.stack([torch.stack(row, 1) for row in linear], 1).to(images)
    offset = centre - matrix @ centre + shift
    return warp_affine(
        images,
        torch.cat([matrix, offset[:, :, None]], 2),
        (height, width),
        padding_mode="fill",
        fill_value=fill,
    )


def _rotate(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    angle = strength * math.radians(30)
    turn = ((angle.cos(), angle.sin()), (-angle.sin(), angle.cos()))
    return _affine(images, fill, turn, images.new_zeros(2))


def _shear_x(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(images, fill, ((one, 0.3 * strength), (zero, one)), images.new_zeros(2))


def _shear_y(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _affine(images, fill, ((one, zero), (0.3 * strength, one)), images.new_zeros(2))


def _translated(images: Tensor, fill: Tensor, x: Tensor, y: Tensor) -> Tensor:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _affine(images, fill, ((one, zero), (zero, one)), torch.stack([x, y], 1))


def _translate_x(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    shift = 0.45 * images.shape[3] * strength
    return _translated(images, fill, shift, torch.zeros_like(shift))


def _translate_y(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    shift = 0.45 * images.shape[2] * strength
    return _translated(images, fill, torch.zeros_like(shift), shift)


def _factor(strength: Tensor) -> Tensor:
    """Of an enhancement: above 1 strengthens, below 1 weakens, by up to 0.9."""
    return 1 + 0.9 * strength


def _brightness(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_brightness_accumulative(images, _factor(strength))


def _contrast(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_contrast_with_mean_subtraction(images, _factor(strength))


def _colour(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.adjust_saturation_with_gray_subtraction(images, _factor(strength))


def _sharpness(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.sharpness(images, _factor(strength))


def _auto_contrast(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.equalize(images)


def _invert(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return 1 - images


def _posterize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    bits = 4 - (4 * strength.abs()).long()
    return enhance.posterize(images, bits.clamp(min=1))  # none left would be a black image


def _solarize(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    return enhance.solarize(images, 1 - strength.abs())


def _solarize_add(images: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    added = (110 / 255 * strength.abs())[:, None, None, None]
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
"""What is drawn from, with the ranges of timm's "increasing" RandAugment; but shears are about the centre."""


@dataclass(frozen=True)
class RandAugment:
    """Draws `count` operations for every image, each done with a probability, one after the other.

    Args:
        count: n, 1 or more.
        magnitude: m, mean strength, 0 to 10.
        spread: standard deviation of the strength, which stays within 0 to 10; at least 0.
        probability: of each operation drawn to be done, 0 to 1.

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

    def __call__(self, images: Tensor, fill: Tensor) -> Tensor:
        """Augmented images. Numbers are drawn from torch's CPU generator: the same for every device.

        Args:
            images: `[B, C, H, W]`, floating point from 0 to 1.
            fill: what comes in where an image is moved, by channel `[C]`.
        """
        fill = fill.to(images)
        for _ in range(self.count):
            images = self._once(images, fill)
        return images

    def _once(self, images: Tensor, fill: Tensor) -> Tensor:
        batch = len(images)
        drawn = torch.randint(len(OPERATIONS), (batch,))
        drawn = torch.where(torch.rand(batch) < self.probability, drawn, -1)
        strength = (self.magnitude + self.spread * torch.randn(batch)).clamp(0, STRONGEST) / STRONGEST
        strength = torch.where(torch.rand(batch) < 0.5, -strength, strength)
        changed = images.clone()
        # Images of one operation go through it together. Who they are is known without asking the device.
        for number, operation in enumerate(OPERATIONS.values()):
            chosen = (drawn == number).nonzero()[:, 0]
            if len(chosen):
                at = chosen.to(images.device)
                changed[at] = operation(images[at], strength[chosen].to(images), fill)
        return changed
