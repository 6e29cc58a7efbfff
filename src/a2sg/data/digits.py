"""scikit-learn's handwritten digits: real images that come with the package."""

from __future__ import annotations

import numpy as np

from a2sg.data.sets import DATA, ArrayImages, ImageData
from a2sg.errors import InputError

TEST = 600
SPLIT_SEED = 0
"""The split is part of the data set: it does not follow the seed of a run."""


@DATA.register
def digits() -> ImageData:
    """1,797 handwritten digits of 8x8 pixels, from scikit-learn: 1,197 for training, 600 for test."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise InputError(
            "data set 'digits' needs the extra a2sg[train]: pip install 'a2sg[train]'"
        ) from error
    raw = load_digits()
    images, labels = raw.images[:, None] / 16, raw.target
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST, stratify=labels, random_state=SPLIT_SEED
    )
    mean, deviation = images[train].mean(), images[train].std()
    images = (images - mean) / deviation
    return ImageData(
        train=ArrayImages(images[train], labels[train]),
        test=ArrayImages(images[test], labels[test]),
        classes=tuple(str(name) for name in raw.target_names),
        shape=(1, 8, 8),
        description="scikit-learn's handwritten digits, standardised by the training images",
    )
