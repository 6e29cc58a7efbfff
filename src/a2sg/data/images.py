"""Published sets of static images, and your own image folders, held in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from a2sg.data.cache import cached
from a2sg.data.encoded import Encoded, Splits, decoded, read_image
from a2sg.data.room import room_for
from a2sg.data.sets import ArrayImages, ImageData, register_data
from a2sg.data.sources import Published, find_source
from a2sg.data.splits import hold_out, require_holdout, spread
from a2sg.errors import SIDE, require, require_choice, require_count

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


AT_ONCE = 1 << 22
"""Pixels that are counted together."""


@dataclass(frozen=True)
class Pixels:
    """How images are prepared for a network.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        mean: per channel, of pixels scaled to 0 .. 1; empty computes it from the training images.
        std: standard deviation, likewise.
    """

    channels: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def in_memory(
    known: Published,
    given: Pixels,
    source: str | None,
    image_size: int | None,
    limit: int | None,
    holdout: float,
) -> ImageData:
    """A data set whose images are decoded once, cached on disk as uint8, and held in memory.

    Args:
        known: the data set.
        given: number of channels, and how to standardise them.
        source: see `a2sg.data.sources.find_source`.
        image_size: height and width that images are scaled to; None leaves them as they are.
        limit: number of images per split, with all classes in proportion; None takes all.
        holdout: share of the training images to evaluate on instead of the test images.

    Raises:
        InputError: for an option out of range, a source that cannot be read, or a damaged image.
    """
    if image_size is not None:
        require_count("image_size", image_size, most=SIDE)
    share = check_part(limit, holdout)
    found = find_source(source, known)

    def make() -> dict[str, np.ndarray]:
        splits = limited(found.read(), limit)
        return {
            "classes": np.array(splits.classes),
            "train": decoded(splits.train, given.channels, image_size, len(splits.test)),
            "train_labels": splits.train.labels,
            "test": decoded(splits.test, given.channels, image_size),
            "test_labels": splits.test.labels,
        }

    key = (found.identity(), known, given.channels, image_size, limit)
    arrays = cached(known.name, key, make)
    images, labels = arrays["train"], arrays["train_labels"]
    test = ArrayImages(arrays["test"], arrays["test_labels"])
    if share:
        kept, held = hold_out(labels, share)
        height, width = images.shape[2:]
        with room_for(len(images), width, height, images[0].nbytes):  # for a second copy
            test = ArrayImages(images[held], labels[held])
            images, labels = images[kept], labels[kept]
    mean, std = (given.mean, given.std) if given.mean else moments(images)
    return ImageData(
        train=ArrayImages(images, labels),
        test=test,
        classes=tuple(arrays["classes"].tolist()),
        shape=images.shape[1:],
        description=described(known, source, share),
        mean=mean,
        std=std,
        reader=partial(read_image, channels=given.channels, size=image_size),
    )


def check_part(limit: int | None, holdout: float) -> float:
    """Return `holdout`, or raise `InputError` if one of the options is out of range."""
    if limit is not None:
        require_count("limit", limit)
    return require_holdout(holdout)


def limited(splits: Splits, limit: int | None) -> Splits:
    """At most `limit` images per split."""

    def part(images: Encoded) -> Encoded:
        return images if limit is None else images.take(spread(images.labels, limit))

    return Splits(part(splits.train), part(splits.test), splits.classes)


def described(known: Published, source: str | None, holdout: float) -> str:
    """One line about the data set as it is used."""
    held = f"; evaluated on {holdout:.0%} of the training images, held out" if holdout else ""
    return f"{known.name} from {source}{held}"


def moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images `[N, C, H, W]`, scaled to 0 .. 1.

    Raises:
        InputError: if all pixels of a channel have the same value.
    """
    levels = np.arange(256) / 255
    some = max(1, AT_ONCE // math.prod(images.shape[2:]))  # counting takes 8 bytes for each value
    means, deviations = [], []
    for channel in range(images.shape[1]):
        values = images[:, channel]
        parts = (values[at : at + some].ravel() for at in range(0, len(values), some))
        share = sum(np.bincount(part, minlength=256) for part in parts) / values.size
        mean = float(share @ levels)
        deviation = float(np.sqrt(share @ (levels - mean) ** 2))
        require(
            deviation > 0, f"channel {channel} of the training images is {mean:g} everywhere: is it empty?"
        )
        means.append(mean)
        deviations.append(deviation)
    return tuple(means), tuple(deviations)


@register_data("cifar10")
def cifar10(
    source: str | None = "uoft-cs/cifar10",
    image_size: int = 32,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """CIFAR-10: colour images of 32x32 pixels in 10 classes, 50,000 for training, 10,000 for test.

    Args:
        source: a name on the Hugging Face hub, or a folder or archive, see `a2sg.data.sources`.
        image_size: height and width that images are scaled to.
        limit: number of images per split, with all classes in proportion; None takes all.
        holdout: share of the training images to evaluate on instead of the test images, to choose settings.
    """
    given = Pixels(3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return in_memory(Published("cifar10", 10), given, source, image_size, limit, holdout)


@register_data("cifar100")
def cifar100(
    source: str | None = "uoft-cs/cifar100",
    image_size: int = 32,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """CIFAR-100: colour images of 32x32 pixels in 100 classes, 50,000 for training, 10,000 for test.

    Args: see `cifar10`.
    """
    given = Pixels(3, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    return in_memory(Published("cifar100", 100), given, source, image_size, limit, holdout)


@register_data("fashion_mnist")
def fashion_mnist(
    source: str | None = "zalando-datasets/fashion_mnist",
    image_size: int = 28,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """Fashion-MNIST: grey images of 28x28 pixels in 10 classes, 60,000 for training, 10,000 for test.

    Args: see `cifar10`. A folder may also hold the four IDX files in which the set is published.
    """
    known = Published("fashion_mnist", len(FASHION), names=FASHION)
    return in_memory(known, Pixels(1, (0.2860,), (0.3530,)), source, image_size, limit, holdout)


@register_data("tiny_imagenet")
def tiny_imagenet(
    source: str | None = "zh-plus/tiny-imagenet",
    image_size: int = 64,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """Tiny ImageNet: colour images of 64x64 pixels in 200 classes, 100,000 for training, 10,000 for test.

    It is evaluated on its validation images, because the labels of its test images are not published.

    Args: see `cifar10`.
    """
    known = Published("tiny_imagenet", 200, evaluated=("val", "valid", "validation"))
    given = Pixels(3, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
    return in_memory(known, given, source, image_size, limit, holdout)


@register_data("image_folder")
def image_folder(
    source: str | None = None,
    image_size: int | None = None,
    channels: int = 3,
    limit: int | None = None,
    holdout: float = 0.0,
) -> ImageData:
    """Your own images in folders train/CLASS and test/CLASS, an archive, or parquet; held in memory.

    They are standardised with the mean and standard deviation of the training images.

    Args:
        source: the folder or archive, see `a2sg.data.sources`.
        image_size: height and width to which the central square of each image is scaled; None if all images
            have the same size already.
        channels: 3, or 1 for grey images.
        limit: see `cifar10`.
        holdout: see `cifar10`.
    """
    require_choice("number of channels", str(channels), ("1", "3"))
    return in_memory(Published("image_folder", None), Pixels(channels), source, image_size, limit, holdout)
