"""What a data set is, and the registry of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, default_collate

from a2sg.errors import require
from a2sg.registry import Registry

Entry = TypeVar("Entry", bound=Callable[..., "ImageData"])

DATA: Registry[Callable[..., ImageData]] = Registry("data set")

IGNORE = -100
"""The label of pixels that are used neither in training nor in scores: torch's cross-entropy ignores it."""


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images with a class each, a class per pixel, or numbers, split for training and test."""

    train: Dataset[Any]
    """Images `[C, H, W]`, or `[T, C, H, W]` with `steps`, and their labels: a class number, a mask `[H, W]`
    of class numbers and `IGNORE`, or for regression K numbers `[K]`, float32. Images in uint8 are raw pixels;
    others go into networks as they are."""
    test: Dataset[Any]
    classes: tuple[str, ...]
    """Their names, by label; for regression the names of the K numbers."""
    shape: tuple[int, int, int]
    """(C, H, W)."""
    description: str
    mean: tuple[float, ...] = ()
    """Per channel, of uint8 images scaled to 0 .. 1, to standardise them on the device."""
    std: tuple[float, ...] = ()
    """Standard deviation, likewise."""
    task: Literal["classification", "segmentation", "regression"] = "classification"
    """What to predict for an image: its class, the class of every pixel, or K numbers."""
    steps: int | None = None
    """T, if samples have a time dimension."""
    padded: bool = False
    """Whether recordings have different lengths, with empty frames after their ends; see `ends_of`."""
    reader: Callable[[Path], np.ndarray] | None = None
    """Reads a file into a sample like those of `test`, for `a2sg predict`; None: no file can be read."""


def register_data(name: str) -> Callable[[Entry], Entry]:
    """A decorator that makes a data set known by `name` to recipes and the command line.

    Put it on a function that is called with the data set's own options by name and returns an `ImageData`. If
    it has an option `steps`, this is set to T. `a2sg list data` shows the first line of its docstring.

    Raises:
        InputError: if another data set has that name.
    """
    return DATA.register(name)


class Held(Dataset[Any]):
    """Samples that are available all at once: a loader takes whole batches, and a device may hold them all.

    Args:
        images: `[N, ...]`.
        labels: `[N]`, or masks `[N, H, W]`, whole numbers; for regression `[N, K]`, floating point.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.images[index], _as_labels(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The same as `batch`; loaders call it, so that nothing is done sample by sample."""
        return self.batch(torch.as_tensor(indices))

    def batch(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of the samples with the indices `at`, `[B]`, on the device of the samples."""
        return self.images[at], _as_labels(self.labels[at])

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take."""
        return self.images.nbytes + self.labels.nbytes

    @property
    def in_memory(self) -> bool:
        """Whether they are in memory already, so that holding them on the CPU costs nothing more."""
        return True

    def on(self, device: torch.device) -> Held:
        """The same samples on a device."""
        return Held(self.images.to(device), self.labels.to(device))


class ArrayImages(Held):
    """Images held in memory.

    Args:
        images: `[N, C, H, W]` or `[N, T, C, H, W]`; uint8 stays, other types become float32.
        labels: `[N]`, whole numbers from 0; for regression `[N, K]`, floating point.

    Raises:
        InputError: for labels `[N]` that are not whole numbers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        pixels = images.dtype == np.uint8
        numbers = labels.dtype.kind == "f" and labels.ndim > 1
        whole = numbers or labels.dtype.kind != "f" or bool((labels == np.floor(labels)).all())
        require(
            whole,
            "labels [N] must be class numbers, whole and from 0: for regression give K numbers for each "
            "sample, [N, K], as labels[:, None] does for one",
        )
        super().__init__(
            torch.as_tensor(images, dtype=torch.uint8 if pixels else torch.float32),
            torch.as_tensor(labels, dtype=torch.float32 if numbers else torch.int64),
        )

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        label = self.labels[index]
        return self.images[index], label if label.is_floating_point() else int(label)


def _as_labels(labels: Tensor) -> Tensor:
    """Class numbers as int64; the numbers of a regression as they are."""
    return labels if labels.is_floating_point() else labels.long()


class Draw(NamedTuple):
    """A sample in one epoch of one run: everything that its random view may depend on."""

    sample: int
    epoch: int
    seed: int


class DrawnImages(Dataset[tuple[Tensor, int]]):
    """Images that have another random view in every epoch, computed in the loader's workers.

    A plain index gives the view for evaluation, a `Draw` gives a random one.
    """

    def __len__(self) -> int:
        raise NotImplementedError


class DrawSampler(DistributedSampler[Any]):
    """A `DistributedSampler` that adds epoch and seed to each index, so that a resumed run draws the same."""

    def __iter__(self) -> Iterator[Any]:
        return (Draw(index, self.epoch, self.seed) for index in super().__iter__())


def ends_of(recordings: Tensor) -> Tensor:
    """Lengths `[B]` of padded recordings `[T, B, ...]`: frames up to the last one that is not empty."""
    there = recordings.flatten(2).any(2)
    number = torch.arange(1, len(there) + 1, device=there.device)[:, None]
    return (there * number).amax(0).clamp(min=1)


def collate(samples: Any) -> Any:
    """A batch: as the data set gave it, or collated from samples."""
    return samples if isinstance(samples, tuple) else default_collate(samples)
