"""Augmentation of one batch, with a seed of its own."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from a2sg.data.draws import Augmentation, Drawn, Draws, generator


def seeded(seed: int = 0) -> np.random.Generator:
    """What a batch draws from."""
    return generator(seed, epoch=0, batch=0)


def applied(*drawn: Drawn, device: str | torch.device = "cpu") -> Draws:
    """What was drawn for one batch, in parts."""
    together: Drawn = {}
    for part in drawn:
        together |= part
    return Draws([together], torch.device(device))


def augmented(
    augment: Augmentation, images: Tensor, labels: Tensor, *, seed: int = 0, epoch: int = 0, batches: int = 1
) -> tuple[Tensor, Tensor]:
    """The samples as an epoch has them: so many batches of one size, augmented at once.

    Args:
        augment: what is done to them.
        images: `[..., N, C, H, W]`.
        labels: `[N, ...]`.
        seed: of the run.
        epoch: how many are done.
        batches: how many the samples are; batch n is the epoch's n-th.
    """
    size = len(labels) // batches
    options: dict[str, Any] = {"batch": size, "size": tuple(images.shape[-2:]), "epoch": epoch}
    drawn = [augment.draw(generator(seed, epoch, batch), **options) for batch in range(batches)]
    return augment(images, labels, Draws(drawn, images.device))
