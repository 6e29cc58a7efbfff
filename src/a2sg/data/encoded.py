"""Encoded images, as files hold them, and their decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from a2sg.data.picture import UnreadableImage, decoded_image, eight_bits
from a2sg.data.room import room_for
from a2sg.errors import require
from a2sg.progress import progress

__all__ = ["Box", "Encoded", "Splits", "UnreadableImage", "decoded", "middle", "pixels"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

SOME = 5_000
"""From this many images on, decoding takes long enough to show progress."""


class Encoded:
    """The images of a split, not decoded yet, and their labels.

    Args:
        items: of each image the path, the content of its file, its pixels `[H, W]` or `[H, W, 3]` in
            uint8, or a mapping with `bytes` or `path`.
        labels: `[len(items)]`, whole numbers from 0.
        chosen: which of them make up the split, in order; None is all.
    """

    def __init__(self, items: Sequence[Any], labels: np.ndarray, chosen: np.ndarray | None = None) -> None:
        self.items = items
        self.chosen = np.arange(len(labels)) if chosen is None else chosen
        self.all_labels = labels

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def labels(self) -> np.ndarray:
        """`[N]`, int64."""
        return self.all_labels[self.chosen].astype(np.int64)

    def take(self, indices: np.ndarray) -> Encoded:
        """Some of the images, in the order of `indices`."""
        return Encoded(self.items, self.all_labels, self.chosen[indices])

    def picture(self, index: int) -> Image.Image:
        """The decoded image, with 8 bits per channel.

        Raises:
            UnreadableImage: if it is damaged or missing, or has 32 bits per pixel.
        """
        at = int(self.chosen[index])
        item = self.items[at]
        if isinstance(item, dict):
            item = item["bytes"] or item["path"]
        if isinstance(item, np.ndarray):
            return Image.fromarray(item)
        name = str(item) if isinstance(item, str | Path) else f"number {at}"
        return eight_bits(decoded_image(item, name), name)


@dataclass(frozen=True)
class Splits:
    """The images and labels of a source."""

    train: Encoded
    test: Encoded
    classes: tuple[str, ...]


def pixels(
    picture: Image.Image, channels: int, size: int | None = None, box: Box | None = None
) -> np.ndarray:
    """The pixels of an image, with colours added or left out as `channels` says.

    Args:
        picture: of any mode with 8 bits per channel.
        channels: 1 (grey) or 3 (RGB).
        size: height and width of the result; None leaves the image's own.
        box: the part of the image that is scaled to `size`; None is the largest square in its middle.

    Returns:
        `[channels, H, W]`, uint8.
    """
    mode = "RGB" if channels == 3 else "L"
    if picture.mode != mode:  # converting always copies
        picture = picture.convert(mode)
    if size is not None and (box is not None or picture.size != (size, size)):
        region = middle(picture.size) if box is None else box
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=region)
    array = np.asarray(picture)
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))


def read_image(path: Path, channels: int, size: int | None, share: float = 1.0) -> np.ndarray:
    """The pixels of an image file, as `pixels` gives them.

    Args:
        path: of the file.
        channels: see `pixels`.
        size: see `pixels`.
        share: see `middle`.

    Raises:
        UnreadableImage: if it is damaged or missing, or has 32 bits per pixel.
    """
    picture = eight_bits(decoded_image(path, str(path)), str(path))
    return pixels(picture, channels, size, middle(picture.size, share))


def middle(size: tuple[int, int], share: float = 1.0) -> Box:
    """The square in the middle of an image of this width and height, `share` of its shorter side wide."""
    width, height = size
    side = share * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def decoded(images: Encoded, channels: int, size: int | None, others: int = 0) -> np.ndarray:
    """All images, `[N, channels, H, W]` in uint8.

    Args:
        images: at least one.
        channels: see `pixels`.
        size: see `pixels`.
        others: how many more images, decoded afterwards, must fit into memory too.

    Raises:
        InputError: if they differ in size and none is asked for, one is damaged, or memory is too small.
    """
    width, height = images.picture(0).size if size is None else (size, size)
    with room_for(len(images) + others, width, height, channels * height * width):
        stack = np.empty((len(images), channels, height, width), dtype=np.uint8)
        show = None if len(images) >= SOME else False
        for index in progress(range(len(images)), "decoding images", len(images), show):
            image = pixels(images.picture(index), channels, size)
            require(
                image.shape == stack.shape[1:],
                f"images have {width}x{height} and {image.shape[2]}x{image.shape[1]} pixels: "
                "set data.options.image_size to scale them to one size",
            )
            stack[index] = image
    return stack
