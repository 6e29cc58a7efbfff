"""Scenes made of scikit-learn's digits: which digit does each pixel belong to?"""

from __future__ import annotations

import numpy as np

from a2sg.data.digits import NAMES, Digits, digit_splits
from a2sg.data.scenes import ArrayScenes
from a2sg.data.sets import ImageData, register_data

CELL = 10
"""A scene has 2x2 cells; a digit of 8x8 lies anywhere in one, so that digits never overlap."""
INK = 0.25
"""From this brightness on a pixel belongs to its digit."""
BACKGROUND = len(NAMES)
SEEDS = (0, 1)
"""Seeds of the scenes for training and for test: they do not depend on the seed of a run."""
SCENES = (800, 300)


@register_data("digits_scenes")
def digits_scenes() -> ImageData:
    """1,100 scenes of 20x20 pixels with two to four handwritten digits and a mask, made from `digits`."""
    parts = [
        _scenes(split, count, seed) for split, count, seed in zip(digit_splits(), SCENES, SEEDS, strict=True)
    ]
    mean, deviation = parts[0][0].mean(), parts[0][0].std()
    train, test = (
        ArrayScenes(((images - mean) / deviation)[:, None].astype(np.float32), masks)
        for images, masks in parts
    )
    return ImageData(
        train=train,
        test=test,
        classes=(*NAMES, "background"),
        shape=(1, 2 * CELL, 2 * CELL),
        description="scenes of handwritten digits; those of the test scenes are test digits",
        task="segmentation",
    )


def _scenes(digits: Digits, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, 20, 20]`, 0 to 1, and masks of the same shape."""
    random = np.random.RandomState(seed)  # its numbers never change with numpy's version
    images = np.zeros((count, 2 * CELL, 2 * CELL))
    masks = np.full(images.shape, BACKGROUND, dtype=np.int16)
    room = CELL - digits.images.shape[1] + 1
    for image, mask in zip(images, masks, strict=True):
        for cell in random.permutation(4)[: random.randint(2, 5)]:
            chosen = random.randint(len(digits.labels))
            top, left = np.array(divmod(cell, 2)) * CELL + random.randint(room, size=2)
            digit = digits.images[chosen]
            place = slice(top, top + digit.shape[0]), slice(left, left + digit.shape[1])
            image[place] = digit
            mask[place][digit >= INK] = digits.labels[chosen]
    return images, masks
