"""ADE20K's scene parsing benchmark (Zhou et al., 2017): 150 classes of stuff and things."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from a2sg.data.hub import image_feature, open_hub
from a2sg.data.labels import require_names
from a2sg.data.paths import path_of
from a2sg.data.picture import decoded_image
from a2sg.data.scenes import MEAN, STD, Pairs, SceneFiles
from a2sg.data.sets import IGNORE, ImageData, register_data
from a2sg.data.untrusted import read_text
from a2sg.errors import InputError, require, require_size, told

CLASSES = 150
COLUMNS = ("image", "annotation")
"""Pattern of the name of a data set on the hub."""
SPLITS = ("training", "validation")
TABLE = 1 << 20
"""Bytes of the table of classes."""
WHERE = (
    "the folder ADEChallengeData2016 of ADEChallengeData2016.zip (CSAIL's scene parsing benchmark), with "
    "images/{training,validation} and annotations/{training,validation}, or the Hugging Face name of a data "
    "set with the columns image and annotation"
)


@register_data("ade20k")
def ade20k(source: str | None = None, image_size: int | Sequence[int] = 512) -> ImageData:
    """ADE20K: scenes in 150 classes, 20,210 for training, 2,000 for test; from a folder or Hugging Face.

    Images are scaled to fit into `image_size`, keeping their aspect ratio, and padded with ignored pixels, so
    that a batch has one size. Scores are taken at that size, whereas the benchmark takes them at each image's
    own.

    Args:
        source: the folder, or the name of a data set.
        image_size: (height, width), or one number for both.

    Raises:
        InputError: if files are missing, or the data set cannot be reached.
    """
    if source is None:
        raise InputError(f"data set 'ade20k' needs data.options.source: {WHERE}")
    size = require_size("image_size", image_size)
    # 0 means other objects, which the benchmark leaves out.
    classes = {0: IGNORE} | {value: value - 1 for value in range(1, CLASSES + 1)}
    root = path_of(source, "data.options.source")
    splits = [_files(root, split) for split in SPLITS] if root.is_dir() else _rows(source)
    train, test = (SceneFiles(pairs, size, classes) for pairs in splits)
    return ImageData(
        train=train,
        test=test,
        classes=_names(root / "objectInfo150.txt"),
        shape=(3, *size),
        description="ADE20K scene parsing",
        mean=MEAN,
        std=STD,
        task="segmentation",
    )


def _files(root: Path, split: str) -> Pairs:
    images = sorted((root / "images" / split).glob("*.jpg"))
    require(len(images) > 0, f"there are no images {root}/images/{split}/*.jpg: source must be {WHERE}")
    pairs = [(image, root / "annotations" / split / f"{image.stem}.png") for image in images]
    for image, mask in pairs:
        require(mask.is_file(), f"{image} has no mask {mask}")
    return pairs


class HubPairs(Sequence[tuple[Image.Image, Image.Image]]):
    """Image and annotation of each row of a Hugging Face data set, decoded on access."""

    def __init__(self, rows: Any) -> None:
        for name in COLUMNS:
            rows = rows.cast_column(name, image_feature())
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = self.rows[index]
        items = [row[name]["bytes"] or row[name]["path"] for name in COLUMNS]
        return tuple(decoded_image(item, f"number {index}") for item in items)


def _rows(name: str) -> list[Pairs]:
    found = open_hub(name, f"source must be {WHERE}")
    splits = [split for split in ("train", "validation") if split in found]
    columns = next(iter(found.values())).column_names
    require(
        len(splits) == 2 and set(COLUMNS) <= set(columns),
        f"{name} must have the splits train and validation with the columns image and annotation, not "
        f"{', '.join(found)} with {', '.join(columns)}",
    )
    return [HubPairs(found[split]) for split in splits]


def _names(info: Path) -> tuple[str, ...]:
    """The names of the classes in `objectInfo150.txt`; their numbers if there is no such file."""
    if not info.is_file():
        return tuple(str(number) for number in range(1, CLASSES + 1))
    with told(f"{info} is not a table of classes"):
        lines = read_text(info, TABLE).splitlines()
        names = [row["Name"] for row in csv.DictReader(lines, delimiter="\t")]
    require(len(names) == CLASSES, f"{info} must name {CLASSES} classes, not {len(names)}")
    return require_names(names, str(info))
