"""Augmentation of event frames: NDA (Li et al., Neuromorphic data augmentation, ECCV 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from a2sg.data.augment import Augment
from a2sg.errors import require, require_count, require_share

ROLL, ROTATE, SHEAR, CUTOUT = OPERATIONS = range(4)


@dataclass(frozen=True)
class NDA:
    """Mirrors a sample with a probability, then does one of four things to it, each as likely.

    It is rolled (what leaves at one border enters at the other), rotated, sheared along x, or has a square
    cut out; all frames of a sample alike. Pixels are taken as they are, from the nearest place, so counts
    stay counts. How far is uniform up to a limit; the limits are those of public code for 48x48 pixels.

    Args:
        flip: probability of the mirror, left to right.
        roll: pixels at most, along y and along x.
        rotate: degrees at most.
        shear: degrees at most.
        cutout: side of the square in pixels; its centre is anywhere.

    Raises:
        InputError: for a value out of range.
    """

    flip: float = 0.5
    roll: int = 5
    rotate: float = 15.0
    shear: float = 15.0
    cutout: int = 8

    def __post_init__(self) -> None:
        require_share("flip", self.flip)
        require_count("roll", self.roll, least=0)
        require_count("cutout", self.cutout, least=0)
        for name in ("rotate", "shear"):
            degrees = getattr(self, name)
            require(0 <= degrees < 90, f"{name} must be from 0 to below 90 degrees, not {degrees}")

    def __call__(self, frames: Tensor) -> Tensor:
        """Augmented frames. Numbers are drawn from torch's CPU generator: the same for every device.

        Args:
            frames: `[T, B, C, H, W]`, any type.
        """
        batch, (height, width) = frames.shape[1], frames.shape[-2:]
        operation = torch.randint(len(OPERATIONS), (batch, 1, 1))

        def only(chosen: int, amount: Tensor) -> Tensor:
            return amount * (operation == chosen)

        def angle(degrees: float) -> Tensor:
            return math.radians(degrees) * (2 * torch.rand(batch, 1, 1) - 1)

        def pixels(most: int) -> Tensor:
            return torch.randint(-most, most + 1, (batch, 1, 1))

        mirror = torch.where(torch.rand(batch, 1, 1) < self.flip, -1.0, 1.0)
        turn, slant = only(ROTATE, angle(self.rotate)), only(SHEAR, angle(self.shear).tan())
        down, right = only(ROLL, pixels(self.roll)), only(ROLL, pixels(self.roll))
        middle = [torch.randint(side, (batch, 1, 1)) for side in (height, width)]
        side = only(CUTOUT, torch.tensor(self.cutout))

        # Where each pixel of the result comes from: turned and sheared about the centre, mirrored, rolled.
        row, column = torch.arange(height)[:, None], torch.arange(width)
        y, x = row - (height - 1) / 2, column - (width - 1) / 2
        across = mirror * (turn.cos() * x + (slant - turn.sin()) * y)
        along = turn.sin() * x + turn.cos() * y
        rows = (along + (height - 1) / 2).round().long()
        columns = (across + (width - 1) / 2).round().long()
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        cut = (_within(row, middle[0], side)) & (_within(column, middle[1], side))
        source = (rows - down) % height * width + (columns - right) % width
        return _gathered(frames, source.to(frames.device), (inside & ~cut).to(frames.device))


@dataclass(frozen=True)
class RecordingAugment:
    """NDA, then what is done to images too.

    Args:
        nda: comes first.
        images: erasing and mixing; what it does to an image it does to all frames of a recording.
    """

    nda: NDA
    images: Augment

    def __call__(self, frames: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented frames and labels; see `NDA` and `Augment`.

        Args:
            frames: `[T, B, C, H, W]`, floating point.
            labels: class numbers, `[B]`.
            epoch: how many epochs are done.
        """
        return self.images(self.nda(frames), labels, epoch)


def _within(place: Tensor, middle: Tensor, side: Tensor) -> Tensor:
    """Whether a place lies in the `side` pixels around `middle`."""
    start = middle - side // 2
    return (place >= start) & (place < start + side)


def _gathered(frames: Tensor, source: Tensor, kept: Tensor) -> Tensor:
    """`frames[..., source]` per sample, 0 where not `kept`; both are `[B, H, W]`."""
    steps, batch, channels, height, width = frames.shape
    index = source.flatten(1)[:, None].expand(steps, batch, channels, height * width)
    return frames.flatten(3).gather(3, index).view_as(frames) * kept[:, None]
