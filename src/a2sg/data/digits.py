"""scikit-learn's handwritten digits: real images that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from a2sg.data.encoded import read_image
from a2sg.data.sets import ArrayImages, ImageData, register_data
from a2sg.errors import InputError

NAMES = tuple("0123456789")
SIDE = 8
"""Pixels across and down."""
TEST = 600
SPLIT_SEED = 0
"""The split is part of the data set: it does not depend on the seed of a run."""


class Digits(NamedTuple):
    """One split."""

    images: np.ndarray
    """`[N, 8, 8]`, float64, 0 (paper) to 1 (ink)."""
    labels: np.ndarray
    """`[N]`."""


def digit_splits() -> tuple[Digits, Digits]:
    """The digits for training, 1,197, and for test, 600."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise InputError("the digits need the extra a2sg[train]: pip install 'a2sg[train]'") from error
    raw = load_digits()
    images, labels = raw.images / 16, raw.target
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST, stratify=labels, random_state=SPLIT_SEED
    )
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])


@register_data("digits")
def digits() -> ImageData:
    """1,797 handwritten digits of 8x8 pixels, from scikit-learn: 1,197 for training, 600 for test.

    Other images are read as dark ink on light paper; their middle squares are scaled to 8x8 pixels.
    """
    train, test = digit_splits()
    mean, deviation = train.images.mean(), train.images.std()

    def standardised(split: Digits) -> ArrayImages:
        return ArrayImages((split.images[:, None] - mean) / deviation, split.labels)

    def read(path: Path) -> np.ndarray:
        ink = 1 - read_image(path, 1, SIDE).astype(np.float64) / 255
        return ((ink - mean) / deviation).astype(np.float32)

    return ImageData(
        train=standardised(train),
        test=standardised(test),
        classes=NAMES,
        shape=(1, SIDE, SIDE),
        description="scikit-learn's handwritten digits, standardised by the training images",
        reader=read,
    )
