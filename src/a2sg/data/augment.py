"""Augmentation of training images, batched, on their device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.data.mix import cutmix, erase, mixup, probabilities
from a2sg.errors import InputError, require, require_count, require_share


class Augment:
    """Changes training images at random: crop, flip, RandAugment, erasing, then CutMix or MixUp.

    With both CutMix and MixUp, each batch gets one of them, by chance. Numbers are drawn from torch's CPU
    generator: the same for every device.

    Args:
        classes: how many.
        fill: mean colour, by channel: what erased pixels and borders that move in are filled with.
        crop_padding: zeros on every side, before a part of the image's own size is cut out; 0 is off.
        flip: whether half of the images are mirrored, left to right.
        randaugment: how many of its operations are drawn for an image; 0 is off.
        randaugment_share: see `a2sg.data.randaugment.RandAugment`, as the next two.
        magnitude: how strong they are, 0 to 10.
        magnitude_spread: standard deviation of that.
        erasing: probability of an image to have a rectangle erased.
        cutmix: α, see `a2sg.data.mix`; 0 is off.
        mixup: α likewise.
        mix_until_epoch: CutMix and MixUp are done in this many first epochs; None is all.

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
        for name, alpha in (("cutmix", cutmix), ("mixup", mixup)):
            require(0 <= alpha < float("inf"), f"augment.{name} must be at least 0, not {alpha}")
        self.cutmix = cutmix
        self.mixup = mixup
        if mix_until_epoch is not None:
            require_count("augment.mix_until_epoch", mix_until_epoch, least=0)
        self.mix_until_epoch = mix_until_epoch

    def __call__(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels.

        Args:
            images: `[B, C, H, W]`, floating point.
            labels: class numbers, `[B]`.
            epoch: how many epochs are done.

        Returns:
            Images of the same shape, and class numbers `[B]`, or `[B, classes]` probabilities if images
            were mixed.
        """
        if self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.flip:
            images = random_flip(images)
        if self.randaugment is not None:
            images = self.randaugment(images, self.fill)
        if self.erasing:
            images = erase(images, self.erasing, self.fill)
        return self._mixed(images, labels, epoch)

    def _mixed(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        over = self.mix_until_epoch is not None and epoch >= self.mix_until_epoch
        if over or not (self.cutmix or self.mixup):
            return images, labels
        cut = torch.rand(()) < 0.5 if self.cutmix and self.mixup else self.cutmix > 0
        soft = probabilities(labels, self.classes)
        return cutmix(images, soft, self.cutmix) if cut else mixup(images, soft, self.mixup)


def _randaugment(
    count: int, magnitude: float, spread: float, share: float
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """`RandAugment`, or None for no operations. Only here kornia is needed."""
    if require_count("augment.randaugment", count, least=0) == 0:
        return None
    try:
        from a2sg.data.randaugment import RandAugment
    except ModuleNotFoundError as error:
        raise InputError("augment.randaugment needs kornia: pip install 'a2sg[train]'") from error
    return RandAugment(count, magnitude, spread, share)


def random_crop(images: Tensor, padding: int) -> Tensor:
    """A part of each image `[B, C, H, W]`, of its own size, after `padding` zeros on every side."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, batch)).to(images.device)
    return padded.unfold(2, height, 1).unfold(3, width, 1)[
        torch.arange(batch, device=images.device), :, top, left
    ]


def random_flip(images: Tensor) -> Tensor:
    """Half of the images `[B, C, H, W]`, by chance, mirrored left to right."""
    chosen = (torch.rand(len(images)) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
