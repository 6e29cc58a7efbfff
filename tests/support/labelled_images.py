"""Trees of small images that tell their class and number, and what a data set of them holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from a2sg.data.sets import ImageData
from places import DATA

CLASSES = ("ant", "bee", "cat")
COUNTS = {"train": 4, "test": 2}
GREY = (0.5, 0.4, 0.3)
"""What fills the pixels that a move leaves empty."""


def picture(label: int, number: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Image.Image:
    """An image that tells its class and number, and no two of whose pixels are alike."""
    generator = np.random.RandomState(100 * label + number)
    return Image.fromarray(generator.randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def write_tree(
    root: Path, counts: Mapping[str, int] = COUNTS, classes: Sequence[str] = CLASSES, **options: Any
) -> Path:
    """A tree of PNG files, which lose nothing."""
    for split, count in counts.items():
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(label, number, **options).save(folder / f"{number:02}.png")
    return root


def stacked(dataset: Any) -> tuple[Tensor, list[int]]:
    images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    return torch.stack(images), list(labels)


def expected(count: int, classes: Sequence[str] = CLASSES, mode: str = "RGB") -> tuple[Tensor, list[int]]:
    """What `write_tree` wrote, in the order of class and number."""
    images = [np.asarray(picture(label, n, mode=mode)) for label in range(len(classes)) for n in range(count)]
    images = [image[None] if image.ndim == 2 else image.transpose(2, 0, 1) for image in images]
    return torch.from_numpy(np.stack(images)), [label for label in range(len(classes)) for _ in range(count)]


def assert_holds(data: ImageData, counts: Mapping[str, int] = COUNTS, mode: str = "RGB") -> None:
    for split, dataset in (("train", data.train), ("test", data.test)):
        images, labels = stacked(dataset)
        wanted, wanted_labels = expected(counts[split], mode=mode)
        assert torch.equal(images, wanted)
        assert labels == wanted_labels


def real(name: str) -> Path:
    """A file or folder of real data; without it, the test is skipped."""

    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here (A2SG_TEST_DATA names the folder of it)")
    return path


def smooth_pictures(batch: int = 4, channels: int = 3, size: int = 16, seed: int = 0) -> Tensor:
    """Random images of whole levels, as uint8; smooth enough to look like pictures."""
    coarse = torch.rand(batch, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)
