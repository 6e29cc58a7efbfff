"""IDX, MNIST's file format, in which Fashion-MNIST is published too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2sg.data.encoded import Encoded, Splits
from a2sg.data.labels import require_labels
from a2sg.data.untrusted import gunzip
from a2sg.errors import require, told

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
UNSIGNED_BYTES = 0x08


def idx_folder(folder: Path) -> Path | None:
    """The folder with the four files, `folder` or one below; None if there is none."""
    first = min(folder.rglob(FILES["train"][0]), default=None)
    return first.parent if first else None


def read_idx_splits(folder: Path, classes: Sequence[str]) -> Splits:
    """The four files of a data set.

    Raises:
        InputError: if one is missing or damaged, or a label is not a class.
    """
    parts = []
    for images_name, labels_name in FILES.values():
        images, labels = read_idx(folder / images_name), read_idx(folder / labels_name)
        require(
            images.ndim == 3 and labels.ndim == 1 and len(images) == len(labels),
            f"{folder / images_name} {images.shape} and {labels_name} {labels.shape} do not match",
        )
        require_labels((labels,), str(folder / labels_name), len(classes))
        parts.append(Encoded(list(images), labels))
    train, test = parts
    return Splits(train, test, tuple(classes))


def read_idx(path: Path) -> np.ndarray:
    """The array in a packed IDX file of unsigned bytes: a magic number, the sizes, the values.

    Raises:
        InputError: if it is missing or damaged.
    """
    content = gunzip(path)
    kind, dimensions = (content[2], content[3]) if len(content) >= 4 else (0, 0)
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4", len(content[4:start]) // 4))
    require(
        content[:2] == b"\0\0"
        and kind == UNSIGNED_BYTES
        and len(shape) == dimensions
        and len(content) == start + math.prod(shape),
        f"{path} is not a complete IDX file of unsigned bytes",
    )
    with told(f"{path} has {dimensions} dimensions"):  # numpy has a maximum
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
