"""Augmentation of training images, batched, on their device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.data.draws import PARTNER, Drawn, Draws, by_sample, sent
from a2sg.data.mix import (
    cutmix,
    cutout,
    draw_cutmix,
    draw_cutout,
    draw_erased,
    draw_mixup,
    draw_partner,
    erase,
    mixup,
    probabilities,
)
from a2sg.errors import InputError, require, require_count, require_share

if TYPE_CHECKING:
    from a2sg.data.randaugment import RandAugment


class Augment:
    """Changes training images at random: crop, flip, RandAugment, erasing, Cutout, then CutMix or MixUp.

    With both CutMix and MixUp, each batch gets one of them, by chance. It is an `Augmentation`.

    Args:
        classes: how many.
        fill: mean colour, by channel: what erased pixels and borders that move in are filled with.
        crop_padding: zeros on every side, before a part of the image's own size is cut out; 0 is off.
        flip: whether half of the images are mirrored, left to right.
        randaugment: how many of its operations are drawn for an image; 0 is off.
        randaugment_share: see `a2sg.data.randaugment.RandAugment`, as the next two.
        magnitude: how strong they are, 0 to 10.
        magnitude_spread: standard deviation of that.
        erasing: probability that a rectangle is erased from an image.
        cutout: side of a square erased in every image; 0 is off.
        cutmix: α, see `a2sg.data.mix`; 0 is off.
        mixup: α likewise.
        mix_until_epoch: number of epochs, from the first, in which CutMix and MixUp are used; None: all.

    Raises:
        InputError: for a value out of range.
    """

    def __init__(
        self,
        classes: int,
        fill: Sequence[float],
        crop_padding: int = 0,
        flip: bool = False,
        randaugment: int = 0,
        randaugment_share: float = 0.5,
        magnitude: float = 9.0,
        magnitude_spread: float = 0.4,
        erasing: float = 0.0,
        cutout: int = 0,
        cutmix: float = 0.0,
        mixup: float = 0.0,
        mix_until_epoch: int | None = None,
    ) -> None:
        self.classes = classes
        self.fill = torch.tensor(fill)
        self.crop_padding = require_count("augment.crop_padding", crop_padding, least=0)
        self.flip = flip
        self.randaugment = _randaugment(randaugment, magnitude, magnitude_spread, randaugment_share)
        self.erasing = require_share("augment.erasing", erasing)
        self.cutout = require_count("augment.cutout", cutout, least=0)
        for name, alpha in (("cutmix", cutmix), ("mixup", mixup)):
            require(0 <= alpha < float("inf"), f"augment.{name} must be at least 0, not {alpha}")
        self.cutmix = cutmix
        self.mixup = mixup
        if mix_until_epoch is not None:
            require_count("augment.mix_until_epoch", mix_until_epoch, least=0)
        self.mix_until_epoch = mix_until_epoch

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch, see `Augmentation`."""
        drawn: Drawn = {}
        if self.crop_padding:
            drawn |= draw_crop(random, batch, self.crop_padding)
        if self.flip:
            drawn |= draw_flip(random, batch)
        if self.randaugment is not None:
            drawn |= self.randaugment.draw(random, batch)
        if self.erasing:
            drawn |= draw_erased(random, batch, size, self.erasing)
        if self.cutout:
            drawn |= draw_cutout(random, batch, size, self.cutout)
        over = self.mix_until_epoch is not None and epoch >= self.mix_until_epoch
        if not over and (self.cutmix or self.mixup):
            drawn |= self._draw_mixed(random, batch, size)
        return drawn

    def _draw_mixed(self, random: np.random.Generator, batch: int, size: tuple[int, int]) -> Drawn:
        drawn = draw_partner(random, batch)
        if self.cutmix:
            drawn |= draw_cutmix(random, batch, size, self.cutmix)
        if self.mixup:
            drawn |= draw_mixup(random, batch, self.mixup)
        if self.cutmix and self.mixup:
            # Both are applied to every batch: the one that was not drawn changes nothing.
            if random.random() < 0.5:
                drawn["mix_kept"] = np.ones(batch)
            else:
                drawn["cut_heights"] = np.zeros(batch, dtype=int)
        return drawn

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels.

        Args:
            images: `[B, C, H, W]`, floating point.
            labels: class numbers, `[B]`.
            draws: of `draw`.

        Returns:
            Images of the same shape, and class numbers `[B]`, or `[B, classes]` probabilities if images
            were mixed.
        """
        if self.fill.device != images.device:
            self.fill = sent(self.fill, images.device)  # once: otherwise each batch waits for a copy
        if self.crop_padding:
            images = crop(images, self.crop_padding, draws)
        if self.flip:
            images = flip(images, draws)
        if self.randaugment is not None:
            images = self.randaugment(images, self.fill, draws)
        if self.erasing:
            images = erase(images, self.fill, draws)
        if self.cutout:
            images = cutout(images, self.fill, draws)
        if PARTNER in draws:
            labels = probabilities(labels, self.classes)
        if "cut_heights" in draws:
            images, labels = cutmix(images, labels, draws)
        if "mix_kept" in draws:
            images, labels = mixup(images, labels, draws)
        return images, labels


def _randaugment(count: int, magnitude: float, spread: float, share: float) -> RandAugment | None:
    """`RandAugment`, or None for no operations. Only this needs kornia."""
    if require_count("augment.randaugment", count, least=0) == 0:
        return None
    try:
        from a2sg.data.randaugment import RandAugment
    except ModuleNotFoundError as error:
        raise InputError("augment.randaugment needs kornia: pip install 'a2sg[train]'") from error
    return RandAugment(count, magnitude, spread, share)


def draw_crop(random: np.random.Generator, batch: int, padding: int) -> Drawn:
    """For `crop`: where the part of each image begins."""
    top, left = random.integers(2 * padding + 1, size=(2, batch))
    return {"crop_top": top, "crop_left": left}


def crop(images: Tensor, padding: int, draws: Draws) -> Tensor:
    """A part of each image `[B, C, H, W]`, of its own size, after `padding` zeros on every side."""
    batch, _, height, width = images.shape
    places = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return places[torch.arange(batch, device=images.device), :, draws["crop_top"], draws["crop_left"]]


def draw_flip(random: np.random.Generator, batch: int) -> Drawn:
    """For `flip`: half of the images, by chance."""
    return {"flip": random.random(batch) < 0.5}


def flip(images: Tensor, draws: Draws) -> Tensor:
    """The images `[B, C, H, W]`, those drawn mirrored left to right."""
    return torch.where(by_sample(draws["flip"]), images.flip(3), images)
