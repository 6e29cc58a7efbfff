"""ImageNet: too large for memory, so images are decoded, cropped and scaled when a loader asks for them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from a2sg.data.encoded import Box, Encoded, middle, pixels, read_image
from a2sg.data.images import check_part, described, limited
from a2sg.data.sets import Draw, DrawnImages, ImageData, register_data
from a2sg.data.sources import Published, find_source
from a2sg.data.splits import hold_out
from a2sg.errors import SIDE, require, require_count

MIDDLE = 224 / 256
"""Share of the shorter side that evaluation uses."""
ASPECTS = (3 / 4, 4 / 3)
TRIES = 10


class ImageViews(DrawnImages):
    """Square views of images: the centre, or for a `Draw` a random part.

    Args:
        images: of any size.
        size: height and width of a view.
        crop_scale: smallest share of an image's area in a random part.
    """

    def __init__(self, images: Encoded, size: int, crop_scale: float) -> None:
        self.images = images
        self.labels = images.labels
        self.size = size
        self.crop_scale = crop_scale

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | Draw) -> tuple[Tensor, int]:
        """The view, uint8 `[3, size, size]`, and its label."""
        at = index.sample if isinstance(index, Draw) else index
        picture = self.images.picture(at)
        box = middle(picture.size, MIDDLE)
        if isinstance(index, Draw) and self.crop_scale < 1:
            # Seeded by sample, epoch and run, so that the worker's own state does not matter.
            box = random_box(picture.size, self.crop_scale, np.random.default_rng(tuple(index)))
        return torch.from_numpy(pixels(picture, 3, self.size, box)), int(self.labels[at])


def random_box(size: tuple[int, int], scale: float, random: np.random.Generator) -> Box:
    """A random part of an image, as in the training of Inception (Szegedy et al., 2015).

    Its share of the area is uniform from `scale` to 1, the logarithm of its aspect ratio is uniform between
    those of `ASPECTS`, and its place is uniform. If ten draws do not fit, it is the central square.

    Args:
        size: width and height of the image.
        scale: smallest share of the area, above 0.
        random: the random generator.
    """
    width, height = size
    low, high = (math.log(aspect) for aspect in ASPECTS)
    for _ in range(TRIES):
        area = random.uniform(scale, 1) * width * height
        aspect = math.exp(random.uniform(low, high))
        across, down = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if across <= width and down <= height:
            left, top = random.uniform(0, width - across), random.uniform(0, height - down)
            return left, top, left + across, top + down
    return middle(size)


@register_data("imagenet")
def imagenet(
    source: str | None = "ILSVRC/imagenet-1k",
    image_size: int = 224,
    crop_scale: float = 0.08,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """ImageNet: 1,281,167 colour images for training, 50,000 for test, in 1,000 classes, read as needed.

    Images are decoded by the loader's processes (`data.workers`). Training uses random parts of them,
    evaluation the centre. The validation images are the test split, as is usual.

    Args:
        source: a name on the Hugging Face hub, or a folder with train/CLASS and val/CLASS; a part of the
            classes is enough.
        image_size: height and width that views are scaled to.
        crop_scale: smallest share of an image's area that training uses; 1 uses the centre, like evaluation.
        limit: number of images per split, with all classes in proportion; None takes all.
        holdout: share of the training images to evaluate on instead of the test images, to choose settings.

    Raises:
        InputError: for an option out of range, or a source that cannot be read.
    """
    require_count("image_size", image_size, most=SIDE)
    require(
        isinstance(crop_scale, int | float) and 0 < crop_scale <= 1,
        f"crop_scale must be above 0 and at most 1, not {crop_scale!r}",
    )
    share = check_part(limit, holdout)
    known = Published("imagenet", None, evaluated=("val", "validation"))
    splits = limited(find_source(source, known).read(), limit)
    train, test = splits.train, splits.test
    if share:
        kept, held = hold_out(train.labels, share)
        train, test = train.take(kept), train.take(held)
    return ImageData(
        train=ImageViews(train, image_size, crop_scale),
        test=ImageViews(test, image_size, crop_scale),
        classes=splits.classes,
        shape=(3, image_size, image_size),
        description=described(known, source, share),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        reader=partial(read_image, channels=3, size=image_size, share=MIDDLE),
    )
