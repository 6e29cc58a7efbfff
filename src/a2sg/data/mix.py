"""Rectangles that are erased or come from another image (CutMix), and images blended as a whole (MixUp).

Images are `[..., B, C, H, W]`, so that event frames `[T, B, C, H, W]` are changed alike at every step.
Numbers are drawn from torch's CPU generator: the same for every device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta

ERASED = (0.02, 1 / 3)
"""Least and greatest share of an image that is erased."""
ASPECT = 3.3
"""Greatest aspect of an erased rectangle, either way."""


def probabilities(labels: Tensor, classes: int) -> Tensor:
    """Class numbers `[B]` as class probabilities `[B, classes]`."""
    return F.one_hot(labels, classes).float()


def cutmix(images: Tensor, labels: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Puts into each image a rectangle of another one (Yun et al., CutMix, ICCV 2019).

    The rectangle has the image's aspect and about 1 - λ of its area, λ ~ Beta(alpha, alpha), and its centre
    anywhere; what lies outside is cut off. Each image has a rectangle and a partner of its own.

    Args:
        images: `[..., B, C, H, W]`.
        labels: class probabilities, `[B, K]`.
        alpha: of the Beta distribution, above 0.

    Returns:
        The images, and labels mixed exactly by the pixels that each image gave.
    """
    batch, (height, width) = len(labels), images.shape[-2:]
    side = (1 - Beta(alpha, alpha).sample((batch,))).sqrt()
    heights, widths = (side * height).round().long(), (side * width).round().long()
    top = torch.randint(height, (batch,)) - heights // 2
    left = torch.randint(width, (batch,)) - widths // 2
    inside = rectangles(top, left, heights, widths, height, width)
    partner = torch.randperm(batch).to(images.device)
    share = inside.float().mean((1, 2, 3)).to(images.device)[:, None]
    mixed = torch.where(inside.to(images.device), images.index_select(-4, partner), images)
    return mixed, (1 - share) * labels + share * labels[partner]


def mixup(images: Tensor, labels: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """λ · image + (1 - λ) · another, λ ~ Beta(alpha, alpha) for each (Zhang et al., mixup, ICLR 2018).

    Args and result: see `cutmix`.
    """
    kept = Beta(alpha, alpha).sample((len(labels),)).to(images)
    partner = torch.randperm(len(labels)).to(images.device)
    weight = kept[:, None, None, None]
    mixed = weight * images + (1 - weight) * images.index_select(-4, partner)
    share = kept[:, None].to(labels)
    return mixed, share * labels + (1 - share) * labels[partner]


def erase(images: Tensor, probability: float, fill: Tensor) -> Tensor:
    """Fills a random rectangle (Zhong et al., Random erasing, AAAI 2020).

    Its share of the area is uniform in `ERASED`, the logarithm of its aspect in that of `ASPECT`, either way.

    Args:
        images: `[..., B, C, H, W]`.
        probability: of every image to be changed, 0 to 1.
        fill: value by channel, `[C]`.
    """
    batch, height, width = images.shape[-4], images.shape[-2], images.shape[-1]
    area = torch.empty(batch).uniform_(*ERASED) * height * width
    aspect = torch.empty(batch).uniform_(-math.log(ASPECT), math.log(ASPECT)).exp()
    chosen = torch.rand(batch) < probability
    heights = (area * aspect).sqrt().round().clamp(1, height).long()
    widths = (area / aspect).sqrt().round().clamp(1, width).long()
    top = (torch.rand(batch) * (height - heights + 1)).long()
    left = (torch.rand(batch) * (width - widths + 1)).long()
    erased = rectangles(top, left, heights * chosen, widths, height, width)
    return torch.where(erased.to(images.device), fill.to(images)[:, None, None], images)


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
            (torch.arange(height), top, heights),
            (torch.arange(width), left, widths),
        )
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]
