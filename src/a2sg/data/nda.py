"""Augmentation of event frames: NDA (Li et al., Neuromorphic data augmentation, ECCV 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2sg.data.augment import Augment
from a2sg.data.draws import Drawn, Draws
from a2sg.errors import require, require_count, require_share

ROLL, ROTATE, SHEAR, CUTOUT = OPERATIONS = range(4)


@dataclass(frozen=True)
class NDA:
    """Mirrors a sample with some probability, then applies one of four operations, all equally likely.

    The sample is rolled (what leaves at one border enters at the opposite one), rotated, sheared along x, or
    a square is cut out; all frames of a sample are changed in the same way. Pixels are taken from the nearest
    place without interpolation, so counts stay counts. Amounts are uniform up to a limit; the limits are
    those of public code for 48x48 pixels.

    Args:
        flip: probability of the mirror, left to right.
        roll: most pixels, along y and along x.
        rotate: most degrees.
        shear: most degrees.
        cutout: side of the square in pixels; its centre may be anywhere.

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
            require(0 <= degrees < 90, f"{name} must be at least 0 and below 90 degrees, not {degrees}")

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int]) -> Drawn:
        """The operation for each recording, and its amount.

        Args:
            random: the random generator.
            batch: number of recordings.
            size: height and width of their frames.
        """
        operation = random.integers(len(OPERATIONS), size=batch)

        def only(chosen: int, amount: np.ndarray) -> np.ndarray:
            return amount * (operation == chosen)

        def angle(degrees: float) -> np.ndarray:
            return math.radians(degrees) * random.uniform(-1, 1, batch)

        def pixels(most: int) -> np.ndarray:
            return random.integers(-most, most, batch, endpoint=True)

        return {
            "mirror": random.random(batch) < self.flip,
            "turn": only(ROTATE, angle(self.rotate)),
            "slant": only(SHEAR, np.tan(angle(self.shear))),
            "down": only(ROLL, pixels(self.roll)),
            "right": only(ROLL, pixels(self.roll)),
            "side": only(CUTOUT, np.full(batch, self.cutout)),
            "middle_row": random.integers(size[0], size=batch),
            "middle_column": random.integers(size[1], size=batch),
        }

    def __call__(self, frames: Tensor, draws: Draws) -> Tensor:
        """Augmented frames.

        Args:
            frames: `[T, B, C, H, W]`, any type.
            draws: of `draw`.
        """
        height, width = frames.shape[-2:]

        def drawn(name: str) -> Tensor:
            return draws[name][:, None, None]

        turn, slant, side = drawn("turn"), drawn("slant"), drawn("side")
        mirror = 1 - 2 * drawn("mirror").float()

        # Where each pixel of the result comes from: rotated and sheared about the centre, mirrored, rolled.
        row, column = (torch.arange(length, device=frames.device) for length in (height, width))
        row = row[:, None]
        y, x = row - (height - 1) / 2, column - (width - 1) / 2
        across = mirror * (turn.cos() * x + (slant - turn.sin()) * y)
        along = turn.sin() * x + turn.cos() * y
        rows = (along + (height - 1) / 2).round().long()
        columns = (across + (width - 1) / 2).round().long()
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        cut = _within(row, drawn("middle_row"), side) & _within(column, drawn("middle_column"), side)
        source = (rows - drawn("down")) % height * width + (columns - drawn("right")) % width
        return _gathered(frames, source, inside & ~cut)


@dataclass(frozen=True)
class RecordingAugment:
    """NDA, followed by image augmentation.

    Args:
        nda: is applied first.
        images: erasing and mixing; all frames of a recording are changed in the same way.
    """

    nda: NDA
    images: Augment

    def draw(self, random: np.random.Generator, batch: int, size: tuple[int, int], epoch: int) -> Drawn:
        """The numbers for a batch, see `Augmentation`."""
        return self.nda.draw(random, batch, size) | self.images.draw(random, batch, size, epoch)

    def __call__(self, frames: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Augmented frames and labels; see `NDA` and `Augment`.

        Args:
            frames: `[T, B, C, H, W]`, floating point.
            labels: class numbers, `[B]`.
            draws: of `draw`.
        """
        return self.images(self.nda(frames, draws), labels, draws)


def _within(place: Tensor, middle: Tensor, side: Tensor) -> Tensor:
    """Whether a place lies in the `side` pixels around `middle`."""
    start = middle - side // 2
    return (place >= start) & (place < start + side)


def _gathered(frames: Tensor, source: Tensor, kept: Tensor) -> Tensor:
    """`frames[..., source]` per sample, 0 where not `kept`; both are `[B, H, W]`."""
    steps, batch, channels, height, width = frames.shape
    index = source.flatten(1)[:, None].expand(steps, batch, channels, height * width)
    return frames.flatten(3).gather(3, index).view_as(frames) * kept[:, None]
