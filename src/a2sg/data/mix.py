"""Erasing rectangles, replacing them by another image's (CutMix), and blending whole images (MixUp).

Images are `[..., B, C, H, W]`; event frames `[T, B, C, H, W]` are changed in the same way at every step.
Drawing random numbers and applying them are separate functions: see `a2sg.data.draws`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from a2sg.data.draws import PARTNER, Drawn, Draws, by_sample

ERASED = (0.02, 1 / 3)
"""Smallest and largest share of an image that is erased."""
ASPECT = 3.3
"""Largest aspect ratio of an erased rectangle, in either direction."""


def probabilities(labels: Tensor, classes: int) -> Tensor:
    """Class numbers `[B]` as class probabilities `[B, classes]`."""
    return torch.zeros(len(labels), classes, device=labels.device).scatter_(1, labels[:, None], 1.0)


def draw_partner(random: np.random.Generator, batch: int) -> Drawn:
    """For `cutmix` and `mixup`: the partner of each image in the batch, as an offset (0 is itself)."""
    return {PARTNER: random.permutation(batch) - np.arange(batch)}


def draw_cutmix(random: np.random.Generator, batch: int, size: tuple[int, int], alpha: float) -> Drawn:
    """For `cutmix`: a rectangle for each image.

    Args:
        random: the random generator.
        batch: number of images.
        size: their height and width.
        alpha: of the Beta distribution, above 0.
    """
    height, width = size
    side = np.sqrt(1 - random.beta(alpha, alpha, batch))
    heights, widths = (np.rint(side * length).astype(int) for length in size)
    top = random.integers(height, size=batch) - heights // 2
    left = random.integers(width, size=batch) - widths // 2
    return {"cut_top": top, "cut_left": left, "cut_heights": heights, "cut_widths": widths}


def cutmix(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Images in which a rectangle comes from another image (Yun et al., CutMix, ICCV 2019).

    The rectangle has the image's aspect ratio and about 1 - λ of its area, λ ~ Beta(alpha, alpha). Its centre
    may be anywhere; parts outside the image are cut off. Rectangle and partner are drawn per image.

    Args:
        images: `[..., B, C, H, W]`.
        labels: class probabilities, `[B, K]`.
        draws: of `draw_partner` and `draw_cutmix`.

    Returns:
        The images, and labels mixed by the exact share of pixels from each image.
    """
    inside = _rectangles(images, draws, "cut")
    partner = _partner(labels, draws)
    mixed = torch.where(inside, images.index_select(-4, partner), images)
    return mixed, _blended(labels, partner, 1 - inside.float().mean((1, 2, 3)))


def draw_mixup(random: np.random.Generator, batch: int, alpha: float) -> Drawn:
    """For `mixup`: λ for each image, from Beta(alpha, alpha) with `alpha` above 0."""
    return {"mix_kept": random.beta(alpha, alpha, batch)}


def mixup(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """λ · image + (1 - λ) · partner, λ ~ Beta(alpha, alpha) per image (Zhang et al., mixup, ICLR 2018).

    Args and result: see `cutmix`; draws of `draw_partner` and `draw_mixup`.
    """
    kept, partner = draws["mix_kept"], _partner(labels, draws)
    weight = by_sample(kept).to(images.dtype)
    mixed = weight * images + (1 - weight) * images.index_select(-4, partner)
    return mixed, _blended(labels, partner, kept)


def draw_erased(random: np.random.Generator, batch: int, size: tuple[int, int], probability: float) -> Drawn:
    """For `erase`: a rectangle for each image, of height 0 where nothing is erased.

    Its share of the area is uniform in `ERASED`; the logarithm of its aspect ratio is uniform between those
    of 1 / `ASPECT` and `ASPECT`.

    Args:
        random: the random generator.
        batch: number of images.
        size: their height and width.
        probability: of an image to be changed, 0 to 1.
    """
    height, width = size
    area = random.uniform(*ERASED, batch) * height * width
    aspect = np.exp(random.uniform(-math.log(ASPECT), math.log(ASPECT), batch))
    chosen = random.random(batch) < probability
    heights = np.rint(np.sqrt(area * aspect)).clip(1, height).astype(int)
    widths = np.rint(np.sqrt(area / aspect)).clip(1, width).astype(int)
    top = random.integers(height - heights + 1)
    left = random.integers(width - widths + 1)
    return {"erase_top": top, "erase_left": left, "erase_heights": heights * chosen, "erase_widths": widths}


def draw_cutout(random: np.random.Generator, batch: int, size: tuple[int, int], side: int) -> Drawn:
    """For `cutout`: a square for each image, centred anywhere; parts outside the image are cut off.

    Args:
        random: the random generator.
        batch: number of images.
        size: their height and width.
        side: of the squares.
    """
    top, left = (random.integers(length, size=batch) - side // 2 for length in size)
    sides = np.full(batch, side)
    return {"out_top": top, "out_left": left, "out_heights": sides, "out_widths": sides}


def cutout(images: Tensor, fill: Tensor, draws: Draws) -> Tensor:
    """Images with a filled square (DeVries and Taylor, Cutout, 2017).

    Args: see `erase`; draws of `draw_cutout`.
    """
    return _filled(images, fill, draws, "out")


def erase(images: Tensor, fill: Tensor, draws: Draws) -> Tensor:
    """Images with a filled random rectangle (Zhong et al., Random erasing, AAAI 2020).

    Args:
        images: `[..., B, C, H, W]`.
        fill: value per channel, `[C]`, on the images' device.
        draws: of `draw_erased`.
    """
    return _filled(images, fill, draws, "erase")


def _filled(images: Tensor, fill: Tensor, draws: Draws, name: str) -> Tensor:
    return torch.where(_rectangles(images, draws, name), fill.to(images.dtype)[:, None, None], images)


def rectangles(top: Tensor, left: Tensor, heights: Tensor, widths: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in the rectangle of each image.

    Args:
        top: first row of each, `[B]`; may lie outside.
        left: first column.
        heights: rows of each, 0 or more.
        widths: columns.
        height: of the images.
        width: of the images.

    Returns:
        `[B, 1, height, width]`, bool.
    """
    rows, columns = (
        (place >= first[:, None]) & (place < (first + count)[:, None])
        for place, first, count in (
            (torch.arange(height, device=top.device), top, heights),
            (torch.arange(width, device=top.device), left, widths),
        )
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _rectangles(images: Tensor, draws: Draws, name: str) -> Tensor:
    """`rectangles` of the images, from the numbers drawn under `name`."""
    top, left, heights, widths = (draws[f"{name}_{part}"] for part in ("top", "left", "heights", "widths"))
    return rectangles(top, left, heights, widths, images.shape[-2], images.shape[-1])


def _partner(labels: Tensor, draws: Draws) -> Tensor:
    """The number of each image's partner, `[N]`."""
    return torch.arange(len(labels), device=labels.device) + draws[PARTNER]


def _blended(labels: Tensor, partner: Tensor, kept: Tensor) -> Tensor:
    """A share `kept` `[N]` of each image's label, and the rest of its partner's."""
    share = kept[:, None].to(labels.dtype)
    return share * labels + (1 - share) * labels[partner]
