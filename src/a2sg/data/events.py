"""Recordings of event cameras: N-MNIST, DVS128 Gesture, CIFAR10-DVS. tonic downloads and reads them.

Files lie where tonic puts them: `SOURCE/NMNIST/Train/0/00002.bin` and so on. They are counted into frames
once; the frames are kept in the cache.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a2sg.data.apart import Apart
from a2sg.data.cache import cache_folder
from a2sg.data.frame_cache import FrameArrays, cached_frames, read_frames
from a2sg.data.frames import SLICINGS, event_frames
from a2sg.data.labels import number_in
from a2sg.data.sets import ImageData, register_data
from a2sg.data.there import found_folder
from a2sg.data.untrusted import numbers, read_file
from a2sg.errors import InputError, one_line, require, require_choice, require_count, require_size

log = logging.getLogger(__name__)

CIFAR10_DVS_TRAINING = 900
"""CIFAR10-DVS has no split of its own. Here recordings 0 to 899 of each class, by the number in the file's
name, are for training, 900 to 999 for test."""


NMNIST_FILE = 1 << 20
"""Maximum size of a recording of N-MNIST in bytes: ten times any real one; tonic needs its square."""
WHOLE = 2**53
"""Below this, floating-point numbers can hold every whole number."""


class Split(NamedTuple):
    """The recordings for training, or for test."""

    files: list[Path]
    labels: list[int]


class Framing(NamedTuple):
    """How to turn the events of a recording into frames."""

    steps: int
    sensor: tuple[int, int, int]
    """(height, width, polarities)."""
    size: tuple[int, int]
    """(height, width) of the frames."""
    by: str
    """`time` or `count`, see `event_frames`."""


@register_data("nmnist")
def nmnist(
    source: str | None = None, steps: int = 4, image_size: int | Sequence[int] = 34, by: str = "time"
) -> ImageData:
    """N-MNIST: digits before a moving event camera, 34x34 pixels, 60,000 for training, 10,000 for test.

    Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.

    Args:
        source: folder that contains, or will contain, `NMNIST`; None uses the cache.
        steps: T, the frames of a recording.
        image_size: (height, width) of the frames, or one number for both.
        by: `time` for frames of equal duration, `count` for frames of equally many events.

    Raises:
        InputError: if files are missing and cannot be downloaded, cannot be read, or an option is invalid.
    """
    sets = tonic_sets().NMNIST
    root = events_root(source) / "NMNIST"
    framing = _framing(steps, (34, 34, 2), image_size, by)
    splits = []
    for train, folder, recordings in ((True, "Train", 60_000), (False, "Test", 10_000)):
        archive = {"train.zip": sets.train_url} if train else {"test.zip": sets.test_url}
        files = found_recordings(
            root, f"{folder}/[0-9]/*.bin", recordings, archive, partial(sets, str(root.parent), train=train)
        )
        splits.append(Split(files, [int(file.parent.name) for file in files]))
    return _data("nmnist", splits, framing, _read_nmnist, tuple("0123456789"), "N-MNIST")


@register_data("dvs_gesture")
def dvs_gesture(
    source: str | None = None, steps: int = 16, image_size: int | Sequence[int] = 128, by: str = "time"
) -> ImageData:
    """DVS128 Gesture: 11 hand gestures before an event camera, 1,077 for training, 264 for test.

    Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017; tonic's version, which
    is cut into gestures.

    Args:
        source: folder that contains, or will contain, `DVSGesture`; None uses the cache.
        steps: T, the frames of a recording.
        image_size: (height, width) of the frames, or one number for both.
        by: `time` for frames of equal duration, `count` for frames of equally many events.

    Raises:
        InputError: if files are missing and cannot be downloaded, cannot be read, or an option is invalid.
    """
    sets = tonic_sets().DVSGesture
    root = events_root(source) / "DVSGesture"
    framing = _framing(steps, (128, 128, 2), image_size, by)
    splits = []
    for train, folder, recordings in ((True, "ibmGestureTrain", 1077), (False, "ibmGestureTest", 264)):
        archive = {f"{folder}.tar.gz": sets.train_url if train else sets.test_url}
        files = found_recordings(
            root, f"{folder}/*/[0-9]*.npy", recordings, archive, partial(sets, str(root.parent), train=train)
        )
        labels = [number_in(file.stem) for file in files]
        for file, label in zip(files, labels, strict=True):
            require(
                label is not None and label < len(sets.classes),
                f"{file} is not named after one of the classes 0 to {len(sets.classes) - 1}",
            )
        splits.append(Split(files, [label for label in labels if label is not None]))
    return _data("dvs_gesture", splits, framing, _read_gesture, tuple(sets.classes), "DVS128 Gesture")


@register_data("cifar10_dvs")
def cifar10_dvs(
    source: str | None = None, steps: int = 4, image_size: int | Sequence[int] = 48, by: str = "time"
) -> ImageData:
    """CIFAR10-DVS: moved CIFAR-10 images before an event camera, 9,000 for training, 1,000 for test.

    Li et al., CIFAR10-DVS: an event-stream dataset for object classification, 2017. It has no split of its
    own: here the first 900 recordings of each class, by the number in the name, are for training.

    Args:
        source: folder that contains, or will contain, `CIFAR10DVS`; None uses the cache.
        steps: T, the frames of a recording.
        image_size: (height, width) of the frames, or one number for both; the camera has 128x128.
        by: `time` for frames of equal duration, `count` for frames of equally many events.

    Raises:
        InputError: if files are missing and cannot be downloaded, cannot be read, or an option is invalid.
    """
    sets = tonic_sets().CIFAR10DVS
    root = events_root(source) / "CIFAR10DVS"
    framing = _framing(steps, (128, 128, 2), image_size, by)
    classes = tuple(sets.classes)
    archive = {sets.filename: sets.url}
    files = found_recordings(root, "*/*.aedat4", 10_000, archive, partial(sets, str(root.parent)))
    train, test = Split([], []), Split([], [])
    for file in files:
        number = re.search(r"_(\d+)\.aedat4$", file.name)
        if number is None or file.parent.name not in classes:
            raise InputError(f"{file} is not named CLASS/cifar10_CLASS_NUMBER.aedat4")
        split = train if int(number.group(1)) < CIFAR10_DVS_TRAINING else test
        split.files.append(file)
        split.labels.append(classes.index(file.parent.name))
    with aedat4_reader() as apart:
        read = partial(_read_cifar10_dvs, apart)
        return _data("cifar10_dvs", [train, test], framing, read, classes, "CIFAR10-DVS")


def _data(
    name: str,
    splits: Sequence[Split],
    framing: Framing,
    read: Callable[[Path], np.ndarray],
    classes: tuple[str, ...],
    title: str,
) -> ImageData:
    def frames(file: Path) -> np.ndarray:
        return event_frames(read(file), *framing)

    parts = []
    for split, kind in zip(splits, ("training", "test"), strict=True):
        if not split.files:
            raise InputError(f"{title} has no recordings for {kind} here")
        parts.append(FrameArrays(cached_frames(name, split.files, tuple(framing), frames), split.labels))

    def another(file: Path) -> np.ndarray:
        return read_frames(file, frames).astype(np.float32)

    return ImageData(
        train=parts[0],
        test=parts[1],
        classes=classes,
        shape=(framing.sensor[2], *framing.size),
        description=f"{title}, event counts in {framing.steps} frames of equal {framing.by}",
        steps=framing.steps,
        reader=another,
    )


def _framing(steps: int, sensor: tuple[int, int, int], image_size: int | Sequence[int], by: str) -> Framing:
    return Framing(
        require_count("steps", steps),
        sensor,
        require_size("image_size", image_size),
        require_choice("by", by, SLICINGS),
    )


def events_root(source: str | None) -> Path:
    """The folder that tonic's folders are in: `source`, or one in the cache."""
    if source is None:
        return cache_folder() / "events"
    return found_folder(source)


def tonic_sets() -> Any:
    """The data sets of tonic."""
    try:
        import tonic.datasets
    except ModuleNotFoundError as error:
        raise InputError("recordings of events need tonic: pip install 'a2sg[events]'") from error
    return tonic.datasets


def found_recordings(
    root: Path, pattern: str, recordings: int, archives: Mapping[str, str], fetch: Callable[[], object]
) -> list[Path]:
    """The recordings below `root`, sorted by name; fetched by tonic if there are none.

    Args:
        root: the data set's own folder.
        pattern: of the recordings in it.
        recordings: how many there should be.
        archives: names of the files that hold them, and where tonic gets these.
        fetch: makes tonic download, check and unpack them; only unpacks them if they are in `root`.
    """
    files = sorted(root.glob(pattern))
    if not files:
        missing = [name for name in archives if not (root / name).exists()]
        try:
            fetch()
        except Exception as error:  # of the network, of archives, of the disk
            for name in missing:  # an interrupted download is not an archive
                (root / name).unlink(missing_ok=True)
            wanted = ", ".join(f"{name} ({url})" for name, url in archives.items())
            raise InputError(
                f"{root} has no {pattern}, and tonic could not fetch it ({type(error).__name__}: "
                f"{one_line(error)}): "
                f"put {wanted} into {root}"
            ) from error
        files = sorted(root.glob(pattern))
    if len(files) != recordings:
        log.warning("%s has %d recordings %s, not %d", root, len(files), pattern, recordings)
    return files


def _read_nmnist(file: Path) -> np.ndarray:
    from tonic.io import read_mnist_file

    content = io.BytesIO(read_file(file, NMNIST_FILE))
    events: np.ndarray = read_mnist_file(content, dtype=tonic_sets().NMNIST.dtype, is_stream=True)
    return events


def aedat4_reader() -> Apart:
    """The reader of AEDAT 4, in a separate process: one changed byte can crash the package aedat."""
    return Apart("tonic.io", "read_aedat4")


def _read_cifar10_dvs(apart: Apart, file: Path) -> np.ndarray:
    return event_table(apart.read(file), "txyp")


def _read_gesture(file: Path) -> np.ndarray:
    columns = numbers(read_file(file), "it")
    whole = bool(np.isfinite(columns).all()) and bool((np.abs(columns.astype(np.float64)) < WHOLE).all())
    require(whole, "it has events that are not whole numbers")
    return event_table(columns.astype(np.int64), "xypt")  # t in milliseconds


def event_table(columns: np.ndarray, names: str) -> np.ndarray:
    """Columns `[N, 4]` as a table with these names."""
    require(
        columns.ndim == 2 and columns.shape[1] == len(names),
        f"it has the shape {columns.shape}, not that of events, (N, {len(names)})",
    )
    events = np.empty(len(columns), dtype=[(name, np.int64) for name in names])
    for at, name in enumerate(names):
        events[name] = columns[:, at]
    return events
