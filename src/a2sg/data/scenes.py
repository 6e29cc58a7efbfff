"""Scenes: images with a class for every pixel, held in memory or read from files one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from a2sg.data.picture import decoded_image
from a2sg.data.sets import IGNORE, Held
from a2sg.errors import InputError, require

Picture = Path | Image.Image
Pairs = Sequence[tuple[Picture, Picture]]
"""Image and mask of each scene."""


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
        labels = self._labels(np.asarray(mask), name)
        pixels = np.asarray(fit(image.convert("RGB"), self.size, Image.Resampling.BILINEAR))
        labels = np.asarray(fit(Image.fromarray(labels), self.size, Image.Resampling.NEAREST, fill=IGNORE))
        return torch.from_numpy(pixels.copy()).movedim(2, 0), torch.from_numpy(labels.astype(np.int64))

    def _labels(self, values: np.ndarray, name: str) -> np.ndarray:
        """`[H, W]`, int32, from the values of a mask."""
        known = np.array(list(self.classes))
        require(values.ndim == 2, f"{name} must have one value per pixel, not {values.shape[2:]}")
        require(values.dtype.kind in "bui", f"{name} must have whole numbers as pixels, not {values.dtype}")
        values = values.astype(np.int64)
        strange = np.setdiff1d(values, known)
        if strange.size:
            raise InputError(f"{name} has the value {strange[0]}, which is not a class")
        table = np.zeros(known.max() + 1, dtype=np.int32)
        table[known] = list(self.classes.values())
        labels: np.ndarray = table[values]
        return labels

    def loaded(self) -> ArrayScenes:
        """All scenes, read into memory: 5 bytes per pixel."""
        images, masks = zip(*(self[index] for index in range(len(self))), strict=True)
        return ArrayScenes(torch.stack(images).numpy(), torch.stack(masks).to(torch.int16).numpy())


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
