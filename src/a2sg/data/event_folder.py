"""Recordings in folders by class, one `.npz` file each: frames as SpikingJelly caches them, or events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from a2sg.data.archives import zip_members
from a2sg.data.events import event_table
from a2sg.data.frame_cache import FrameArrays, cached_frames, read_frames
from a2sg.data.frames import CELLS, MOST, SLICINGS, event_frames, summed_steps
from a2sg.data.labels import require_names
from a2sg.data.sets import ImageData, register_data
from a2sg.data.splits import hold_out, require_holdout
from a2sg.data.there import found_folder, holds
from a2sg.data.untrusted import numbers, require_file
from a2sg.errors import InputError, require, require_choice, require_count, require_size

FRAMES = "frames"
EVENTS = "txyp"
POLARITIES = 2


@register_data("event_folder")
def event_folder(
    source: str | None = None,
    steps: int = 4,
    sensor: int | Sequence[int] = 128,
    by: str = "time",
    holdout: float = 0.0,
    train: str = "train",
    test: str = "test",
) -> ImageData:
    """Recordings in folders train/CLASS and test/CLASS, or CLASS alone, as `.npz` files of frames or events.

    A file holds `frames` `[N, C, H, W]`, counts, whose N bins of time are summed into T: this is what
    SpikingJelly keeps in its folders `frames_number_N_split_by_number`. Or it holds `t`, `x`, `y` and `p`
    `[N]`, as in SpikingJelly's folders `events_np`. Classes are the names of the folders, sorted.

    Args:
        source: the folder.
        steps: T, for frames at most N.
        sensor: (height, width) of the camera, or one number for both, where files hold events.
        by: as for `nmnist`, where files hold events.
        holdout: share of the recordings for training to evaluate on; needed where there is no folder `test`.
        train: name of the folder with recordings for training.
        test: name of the folder with those for test.

    Raises:
        InputError: if files are missing, or are not such recordings, or for an option out of range.
    """
    if source is None:
        raise InputError(
            "data set 'event_folder' needs data.options.source: a folder with train/CLASS and test/CLASS, or "
            "CLASS, of .npz files"
        )
    require_count("steps", steps)
    size, share = require_size("sensor", sensor), require_holdout(holdout)
    require_choice("by", by, SLICINGS)
    root = found_folder(source)
    make = partial(_frames, steps=steps, sensor=size, by=by)
    within = root / train if (root / train).is_dir() else root
    files, names = _by_class(within)
    classes = require_names(sorted(set(names)), source)
    labels = np.array([classes.index(name) for name in names])
    if share:
        splits = [([files[at] for at in part], labels[part]) for part in hold_out(labels, share)]
    else:
        inner = root / test
        require(
            within != root and inner.is_dir(),
            f"{root} has no folders {train!r} and {test!r} ({holds(root)}): name them in data.options, or "
            "set data.options.holdout, such as 0.1, to the share of recordings to evaluate on",
        )
        others, other_names = _by_class(inner)
        strange = sorted(set(other_names) - set(classes))
        require(not strange, f"{inner} has a class {min(strange, default='')!r} that {within} does not have")
        splits = [(files, labels), (others, np.array([classes.index(name) for name in other_names]))]
    parts = [
        FrameArrays(cached_frames("event_folder", files, (steps, size, by), make), torch.from_numpy(labels))
        for files, labels in splits
    ]
    shapes = sorted({part.frames.shape[1:] for part in parts})
    require(len(shapes) == 1, f"recordings of {root} differ in shape (T, C, H, W): {shapes}")
    return ImageData(
        train=parts[0],
        test=parts[1],
        classes=classes,
        shape=parts[0].frames.shape[2:],
        description=f"recordings of {source}, event counts in {steps} frames",
        steps=steps,
        reader=lambda path: read_frames(path, make).astype(np.float32),
    )


def _by_class(folder: Path) -> tuple[list[Path], list[str]]:
    """The recordings in a folder, by class and path, and the class of each."""
    files = sorted(folder.glob("*/**/*.npz"))
    if not files:
        raise InputError(f"{folder} has no .npz files in folders by class ({holds(folder)})")
    return files, [file.relative_to(folder).parts[0] for file in files]


def _frames(path: Path, steps: int, sensor: tuple[int, int], by: str) -> np.ndarray:
    """Frames `[T, C, H, W]`, uint16, of a file."""
    members = zip_members(require_file(path), lambda name: name.endswith(".npy"))
    arrays = {name.removesuffix(".npy"): numbers(content, name) for name, content in members}
    if FRAMES in arrays:
        return _summed(arrays[FRAMES], steps)
    require(
        set(EVENTS) <= arrays.keys(),
        f"it holds {', '.join(sorted(arrays)) or 'no arrays'}, and neither frames nor t, x, y and p",
    )
    columns = [arrays[name] for name in EVENTS]
    one = len({column.shape for column in columns}) == 1 and columns[0].ndim == 1
    whole = all(column.dtype.kind in "biu" for column in columns)
    require(one and whole, "t, x, y and p must be arrays of whole numbers, all of one length [N]")
    events = event_table(np.stack([column.astype(np.int64) for column in columns], 1), EVENTS)
    return event_frames(events, steps, (*sensor, POLARITIES), by=by)


def _summed(frames: np.ndarray, steps: int) -> np.ndarray:
    require(
        frames.ndim == 4 and 0 < frames.size <= CELLS,
        f"its frames have the shape {frames.shape}: they must be [N, C, H, W], of at most {CELLS:,} counts",
    )
    counts = frames.astype(np.float64)
    whole = bool((np.isfinite(counts) & (counts >= 0) & (counts == np.floor(counts))).all())
    require(whole, "its frames must be counts of events: whole numbers from 0")
    return np.minimum(summed_steps(counts, steps), MOST).astype(np.uint16)
