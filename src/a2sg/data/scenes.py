"""Scenes: images with a class for every pixel, held in memory or read from files one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from a2sg.data.picture import decoded_image, eight_bits
from a2sg.data.room import room_for
from a2sg.data.sets import IGNORE, Held
from a2sg.errors import InputError, require

Picture = Path | Image.Image
Pairs = Sequence[tuple[Picture, Picture]]
"""Image and mask of each scene."""

AT_ONCE = 1 << 20
"""Pixels of a mask that are looked at together: numbers of 8 bytes are made of them."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for red, green and blue: the usual ones for scenes."""


class ArrayScenes(Held):
    """Scenes held in memory.

    Args:
        images: `[N, C, H, W]`.
        masks: `[N, H, W]`, class numbers or `IGNORE`.
    """

    def __init__(self, images: np.ndarray, masks: np.ndarray) -> None:
        super().__init__(torch.as_tensor(images), torch.as_tensor(masks))


class SceneFiles(Dataset[tuple[Tensor, Tensor]]):
    """Scenes that are read and fitted to one size on demand.

    Args:
        pairs: image and mask of each scene.
        size: (height, width) to fit them to, see `fit`.
        classes: the class, or `IGNORE`, for each value of a mask.
    """

    def __init__(self, pairs: Pairs, size: tuple[int, int], classes: Mapping[int, int]) -> None:
        self.pairs = pairs
        self.size = size
        self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image, uint8 `[3, H, W]`, and its classes, int64 `[H, W]`.

        Raises:
            InputError: for a file that is not an image, a mask of another size, or a value without a class.
        """
        pair = self.pairs[index]
        image, mask = (_opened(picture) for picture in pair)
        name = f"the mask {pair[1] if isinstance(pair[1], Path) else index}"
        require(image.size == mask.size, f"{name} has {mask.size} pixels, its image {image.size}")
        places = Image.fromarray(self._places(np.asarray(mask), name))
        if image.mode != "RGB":  # converting always copies
            image = eight_bits(image, str(pair[0] if isinstance(pair[0], Path) else index)).convert("RGB")
        pixels = np.asarray(fit(image, self.size, Image.Resampling.BILINEAR))
        outside = len(self.classes)
        fitted = np.asarray(fit(places, self.size, Image.Resampling.NEAREST, fill=outside))
        labels = np.array([*self.classes.values(), IGNORE], dtype=np.int64)[fitted]
        return torch.from_numpy(pixels.copy()).movedim(2, 0), torch.from_numpy(labels)

    def _places(self, values: np.ndarray, name: str) -> np.ndarray:
        """For each value of a mask its place among the keys of `classes`: `[H, W]`, uint8 if that will do."""
        require(values.ndim == 2, f"{name} must have one value per pixel, not {values.shape[2:]}")
        require(values.dtype.kind in "bui", f"{name} must have whole numbers as pixels, not {values.dtype}")
        known = list(self.classes)
        unknown, most = len(known), max(known)
        table = np.full(most + 2, unknown, dtype=np.uint8 if unknown < 256 else np.int32)
        table[known] = np.arange(unknown)
        places = np.empty(values.shape, dtype=table.dtype)
        strange: list[int] = []
        rows = max(1, AT_ONCE // values.shape[1])
        for start in range(0, len(values), rows):
            part = values[start : start + rows].astype(np.int64)
            found = table[np.where((part >= 0) & (part <= most), part, most + 1)]
            others = part[found == unknown]
            strange.extend([int(others.min())] if others.size else [])
            places[start : start + rows] = found
        if strange:
            raise InputError(f"{name} has the value {min(strange)}, which is not a class")
        return places

    def loaded(self) -> ArrayScenes:
        """All scenes, read into memory: 5 bytes per pixel.

        Raises:
            InputError: if that is more memory than is free, and as for a single scene.
        """
        count, (height, width) = len(self), self.size
        with room_for(count, width, height, 5 * height * width):
            images = np.empty((count, 3, height, width), dtype=np.uint8)
            masks = np.empty((count, height, width), dtype=np.int16)
            for index in range(count):
                image, mask = self[index]
                images[index], masks[index] = image.numpy(), mask.numpy()
        return ArrayScenes(images, masks)


def fit(
    picture: Image.Image, size: tuple[int, int], resample: Image.Resampling, fill: int = 0
) -> Image.Image:
    """A picture resized to fit into `size` with the same aspect ratio, and filled up at the right and bottom.

    Args:
        picture: of any size.
        size: (height, width).
        resample: interpolation between pixels.
        fill: value of the added pixels.
    """
    height, width = size
    ratio = min(height / picture.height, width / picture.width)
    rows, columns = (max(1, round(ratio * side)) for side in (picture.height, picture.width))
    picture = picture.resize((columns, rows), resample)
    if (rows, columns) == size:
        return picture
    filled = Image.new(picture.mode, (width, height), fill)
    filled.paste(picture)
    return filled


def _opened(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    return decoded_image(picture, str(picture))
