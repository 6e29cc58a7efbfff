"""Recordings of event-based sensors as arrays: a folder or a zip of `.npy` files, counts by bin of time."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np

from a2sg.data.archives import zip_members
from a2sg.data.frames import summed_steps
from a2sg.data.labels import number_in, require_labels
from a2sg.data.paths import inner_folder, path_of
from a2sg.data.sets import ArrayImages, ImageData, register_data
from a2sg.data.there import holds
from a2sg.data.untrusted import numbers, read_file
from a2sg.errors import InputError, require, require_count

AXES = "tpyx"
TACTILE = (
    "Ev-Objects (Gu et al., TactileSGNet, IROS 2020; clear-nus/TactileSGNet on GitHub): its zip, or the "
    "folder with train and test unpacked from it"
)


@register_data("event_arrays")
def event_arrays(
    source: str | None = None,
    steps: int = 4,
    axes: str = AXES,
    label: str = r"label_(\d+)",
    train: str = "train",
    test: str = "test",
) -> ImageData:
    """Recordings in `.npy` files, event counts by bin of time, from a folder or a zip with train and test.

    Args:
        source: a folder or a zip, with the two folders anywhere inside.
        steps: T, the frames that a recording's bins of time are summed to.
        axes: what the axes of an array are, in their order: `t` time, `p` polarity, `y` and `x` space. All
            but `t` may be missing.
        label: pattern of the label in a file's name, a whole number from 0 as its one group.
        train: name of the folder with recordings for training.
        test: name of the folder with those for test.

    Raises:
        InputError: if files are missing, or are not such recordings.
    """
    if source is None:
        raise InputError("data set 'event_arrays' needs data.options.source: a folder or zip with .npy files")
    require_count("steps", steps)
    require(
        "t" in axes and len(set(axes)) == len(axes) and set(axes) <= set(AXES),
        f"axes must be letters of {AXES!r} (time, polarity, row, column), each at most once, with 't', not "
        f"{axes!r}",
    )
    try:
        pattern = re.compile(label)
    except re.error as error:
        raise InputError(f"label must be a regular expression, not {label!r}: {error}") from error
    require(pattern.groups == 1, f"label must have one group, such as label_(\\d+), not {label!r}")
    root = path_of(source, "data.options.source")
    names = [inner_folder(name, option) for name, option in ((train, "train"), (test, "test"))]
    parts = [_recordings(root, name, steps, axes, pattern) for name in names]
    (frames, labels), (test_frames, test_labels) = parts
    require(
        frames.shape[1:] == test_frames.shape[1:],
        f"recordings in {train} have (T, C, H, W) = {frames.shape[1:]}, in {test} {test_frames.shape[1:]}",
    )
    count = require_labels((labels, test_labels), source)
    return ImageData(
        train=ArrayImages(frames, labels),
        test=ArrayImages(test_frames, test_labels),
        classes=tuple(str(number) for number in range(count)),
        shape=frames.shape[2:],
        description=f"event recordings of {source}",
        steps=steps,
        reader=lambda path: _frames(str(path), read_file(path), steps, axes),
    )


@register_data("tactile")
def tactile(source: str | None = None, steps: int = 10) -> ImageData:
    """Ev-Objects: 36 objects touched by an event-based sensor of 39 taxels, 576 for training, 144 for test.

    Args:
        source: the zip or folder.
        steps: T, at most 250.

    Raises:
        InputError: if files are missing, or are not such recordings.
    """
    if source is None:
        raise InputError(f"data set 'tactile' needs data.options.source: {TACTILE}")
    return event_arrays(source, steps, axes="ypt")


def _recordings(
    root: Path, part: str, steps: int, axes: str, pattern: re.Pattern[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[N, T, C, H, W]` and labels `[N]` of all files in the folder `part`, by name."""
    found = {}
    for name, content in _files(root, part):
        match = pattern.search(PurePath(name).name)
        label = number_in(match.group(1)) if match is not None else None
        if label is None:
            raise InputError(f"{name} has no whole number as its label (pattern {pattern.pattern!r})")
        found[name] = (_frames(name, content, steps, axes), label)
    if not found:
        inner = root / part
        there = f"{inner} has none: {holds(inner)}" if inner.is_dir() else ""
        there = there or (holds(root) if root.is_dir() else "such as train/gesture_label_3.npy")
        raise InputError(f"{root} has no .npy files directly in a folder {part!r} ({there})")
    shapes = {frames.shape for frames, _ in found.values()}
    require(len(shapes) == 1, f"recordings in {root} differ in shape: {sorted(shapes)[:3]} (T, C, H, W)")
    frames, labels = zip(*(found[name] for name in sorted(found)), strict=True)
    return np.stack(frames), np.array(labels)


def _frames(name: str, content: bytes, steps: int, axes: str) -> np.ndarray:
    """`[T, C, H, W]` of one file."""
    counts = numbers(content, name)
    require(counts.ndim == len(axes), f"{name} has {counts.ndim} axes, but axes={axes!r} names {len(axes)}")
    require(counts.size > 0, f"{name} is empty: its shape is {counts.shape}")
    counts = counts.astype(np.float32)
    require(bool(np.isfinite(counts).all()), f"{name} has values that are not finite")
    present = [axis for axis in AXES if axis in axes]
    counts = counts.transpose([axes.index(axis) for axis in present])
    counts = np.expand_dims(counts, tuple(at for at, axis in enumerate(AXES) if axis not in axes))
    return summed_steps(counts, steps)


def _files(root: Path, part: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the `.npy` files in any folder called `part`."""
    if root.is_dir():
        for path in root.rglob(f"{glob.escape(part)}/*.npy"):
            yield str(path), read_file(path)
        return
    require(root.is_file(), f"there is no folder or zip {root}")

    def wanted(name: str) -> bool:
        inside = PurePath(name)
        return inside.suffix == ".npy" and inside.parent.name == part

    yield from zip_members(root, wanted)
