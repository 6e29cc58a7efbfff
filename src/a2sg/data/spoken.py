"""Spoken words as spikes: SHD and SSC, from the files that tonic downloads.

Files are where tonic puts them: `SOURCE/SHD/shd_train.h5` and so on. Spikes are counted into frames once, and
the frames are cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from a2sg.data.cache import fingerprint
from a2sg.data.events import event_table, events_root, found_recordings, tonic_sets
from a2sg.data.frame_cache import FrameArrays, kept_frames
from a2sg.data.frames import SLICINGS, event_frames
from a2sg.data.hdf5 import RowReader
from a2sg.data.labels import require_labels, require_names
from a2sg.data.sets import ImageData, register_data
from a2sg.errors import InputError, require, require_choice, require_count, require_positive, told

UNITS = 700
"""Frequency bands, from low to high, of the cochlea model that made the spikes."""
MICROSECONDS = 1e6
AT_ONCE = 256
"""Recordings that are read together."""
LONGEST = 3600.0
"""Maximum length of a recording, in seconds; the longest real one has 1.4."""


@register_data("shd")
def shd(
    source: str | None = None,
    steps: int = 20,
    units: int = 140,
    by: str = "time",
    frame_ms: float | None = None,
) -> ImageData:
    """Spiking Heidelberg Digits: spoken digits as spikes, 20 classes, 8,156 for training, 2,264 for test.

    Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks,
    IEEE TNNLS 2020. Ten digits in English and in German, 700 units. Two speakers of the test
    recordings do not appear in the training recordings.

    Args:
        source: folder that contains, or will contain, `SHD`; None uses the cache.
        steps: T, frames per recording.
        units: number of rows into which the 700 units are summed, at most 700.
        by: `time` for frames of equal duration, `count` for frames with equally many spikes.
        frame_ms: milliseconds per frame, so that longer recordings have more frames, at most T; later spikes
            are dropped. None cuts every recording into T frames.

    Raises:
        InputError: if files are missing and cannot be downloaded, cannot be read, or an option is invalid.
    """
    sets = tonic_sets().SHD
    splits = {"train": {"train": True}, "test": {"train": False}}
    return _spoken("shd", sets, source, splits, steps, units, by, frame_ms)


@register_data("ssc")
def ssc(
    source: str | None = None,
    steps: int = 20,
    units: int = 140,
    by: str = "time",
    test: str = "test",
    frame_ms: float | None = None,
) -> ImageData:
    """Spiking Speech Commands: 35 spoken words as spikes, 75,466 for training, 20,382 for test.

    Cramer et al., see `shd`. A third split of 9,981 recordings, `valid`, is for choosing settings.

    Args:
        source: folder that contains, or will contain, `SSC`; None uses the cache.
        steps: see `shd`.
        units: see `shd`.
        by: see `shd`.
        test: what to evaluate on: `test`, or `valid` for choosing settings.
        frame_ms: see `shd`.

    Raises:
        InputError: as `shd`.
    """
    require_choice("test", test, ("test", "valid"))
    splits = {name: {"split": name} for name in ("train", test)}
    return _spoken("ssc", tonic_sets().SSC, source, splits, steps, units, by, frame_ms)


def _spoken(
    name: str,
    sets: Any,
    source: str | None,
    splits: dict[str, dict[str, Any]],
    steps: int,
    units: int,
    by: str,
    frame_ms: float | None,
) -> ImageData:
    """A data set, given the arguments by which tonic selects each of its splits."""
    require_count("steps", steps)
    require_count("units", units, most=UNITS)
    require_choice("by", by, SLICINGS)
    duration = None
    if frame_ms is not None:
        require(by == "time", f"frame_ms is for frames of equal duration: leave by at 'time', not {by!r}")
        duration = max(1, round(require_positive("frame_ms", frame_ms) * MICROSECONDS / 1000))
    root = events_root(source) / sets.__name__
    parts, known = [], []
    with RowReader() as reader:
        for split, arguments in splits.items():
            stem = f"{name}_{split}.h5"
            archive = {f"{stem}.zip": f"{sets.base_url}{stem}.zip"}
            (file,) = found_recordings(root, stem, 1, archive, partial(sets, str(root.parent), **arguments))
            labels, classes = _labels(reader, file)
            key = (steps, units, by, *([duration] if duration else []), fingerprint(file))
            made = _frames(_recordings(reader, file, len(labels)), file, steps, units, by, duration)
            frames = kept_frames(f"{name}-{split}", key, made, len(labels))
            parts.append(FrameArrays(frames, labels.tolist()))
            known.append(classes)
    require(known[0] == known[1], f"{root} has files of different classes: {known[0]} and {known[1]}")
    return ImageData(
        train=parts[0],
        test=parts[1],
        classes=known[0],
        shape=(1, 1, units),
        description=f"{sets.__name__}, spike counts in {steps} frames of equal {by}"
        if duration is None
        else f"{sets.__name__}, spike counts in up to {steps} frames of {frame_ms:g} ms",
        steps=steps,
        padded=duration is not None,
    )


def _labels(reader: RowReader, file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels `[N]` and class names in a file."""
    labels, keys = reader.read(file, ("labels", "extra/keys"))
    with told(f"{file} has class names that are not text"):
        words = [key.astype(np.uint8).tobytes().decode("utf-8") for key in keys.each()]
    classes = require_names(words, str(file))
    found = labels.values.astype(np.int64)
    require_labels((found,), str(file), len(classes))
    return found, classes


def _recordings(reader: RowReader, file: Path, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Times and units of each recording in a file, in order."""
    left = file.stat().st_size
    for first in range(0, count, AT_ONCE):
        parts = reader.read(file, ("spikes/times", "spikes/units"), first, min(first + AT_ONCE, count))
        left -= sum(part.values.nbytes for part in parts)
        require(left >= 0, f"{file} claims more spikes than fit into it: recordings share them")
        yield from zip(*(part.each() for part in parts), strict=True)


def _frames(
    recordings: Iterator[tuple[np.ndarray, np.ndarray]],
    file: Path,
    steps: int,
    units: int,
    by: str,
    duration: int | None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and frames `[T, 1, 1, units]` of each recording in a file, in order."""
    for at, (times, places) in enumerate(recordings):
        name = f"recording {at} of {file}"
        seconds = times.astype(np.float64)
        require(
            bool((np.isfinite(seconds) & (np.abs(seconds) < LONGEST)).all()),
            f"{name} has times that cannot be seconds of a recording",
        )
        x = places.astype(np.int64)
        require(x.shape == seconds.shape, f"{name} has {seconds.size} times, but {x.size} units")
        t = (seconds * MICROSECONDS).astype(np.int64)
        table = event_table(np.stack([t, x, np.zeros_like(t), np.zeros_like(t)], 1), "txyp")
        try:
            yield name, event_frames(table, steps, (1, UNITS, 1), (1, units), by, duration)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
