"""Frames of many recordings: made once, kept on disk, read batch by batch."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from a2sg.data.cache import LAYOUT, cache_folder, fingerprint
from a2sg.data.sets import Held
from a2sg.errors import InputError, require, told
from a2sg.progress import progress

log = logging.getLogger(__name__)


class FrameArrays(Held):
    """Recordings whose frames are in a file.

    Args:
        frames: `[N, T, C, H, W]`, event counts.
        labels: `[N]`, whole numbers from 0.
    """

    def __init__(self, frames: np.ndarray, labels: Sequence[int] | Tensor) -> None:
        self.frames = frames
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.frames[index].astype(np.float32)), int(self.labels[index])

    def batch(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """The batch `[B, T, C, H, W]` and `[B]`."""
        return torch.from_numpy(self.frames[at.numpy()].astype(np.float32)), self.labels[at]

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes + self.labels.nbytes

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.frames, np.memmap)

    def on(self, device: torch.device) -> Held:
        """Counts in uint8 if they fit, as nearly all do; batches are float32 in any case."""
        kind = np.uint8 if self.frames.max() <= 255 else np.int32
        return Counts(torch.from_numpy(self.frames.astype(kind)).to(device), self.labels.to(device))

    def __reduce__(self) -> tuple[Any, ...]:
        # A spawned worker maps the file again, instead of receiving data that may not fit into memory.
        if isinstance(self.frames, np.memmap):
            return _mapped, (self.frames.filename, self.labels)
        return FrameArrays, (self.frames, self.labels)


class Counts(Held):
    """Recordings on a device, whose counts are whole numbers of any type."""

    def batch(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """The batch `[B, T, C, H, W]`, float32, and `[B]`."""
        frames, labels = super().batch(at)
        return frames.float(), labels


def _mapped(path: Path, labels: Tensor) -> FrameArrays:
    return FrameArrays(np.load(path, mmap_mode="r", allow_pickle=False), labels)


def cached_frames(
    name: str, files: Sequence[Path], transform: object, make: Callable[[Path], np.ndarray]
) -> np.ndarray:
    """The frames of every file, on disk.

    Args:
        name: prefix of the cached file's name.
        files: recordings, at least one. Their paths, sizes and modification times are part of the key.
        transform: everything besides the file on which `make` depends; its `repr` is part of the key.
        make: reads a recording and returns its frames, all of one shape and type.

    Returns:
        `[N, ...]`, mapped from the file.

    Raises:
        InputError: if a recording cannot be read, or the cache cannot be written.
    """
    known = [entry for file in files for entry in fingerprint(file)]
    made = ((str(file), read_frames(file, make)) for file in files)
    return kept_frames(name, (transform, known), made, len(files))


def kept_frames(
    name: str, key: tuple[object, ...], made: Iterable[tuple[str, np.ndarray]], count: int
) -> np.ndarray:
    """The frames of recordings, on disk.

    Args:
        name: prefix of the cached file's name.
        key: everything on which the frames depend; its `repr` is used.
        made: name and frames of each recording, all of one shape and type; only read if the cache does not
            have them.
        count: how many recordings there are, at least one.

    Returns:
        `[N, ...]`, mapped from the file.

    Raises:
        InputError: if the cache cannot be written, and what `made` raises.
    """
    digest = hashlib.sha256(repr((LAYOUT, *key)).encode()).hexdigest()[:20]
    path = cache_folder() / f"{name}-{digest}.npy"
    if path.is_file():
        try:
            with told(f"the cached {path} is damaged"):
                kept: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
                require(len(kept) == count, f"the cached {path} is damaged")
                return kept
        except InputError as error:
            log.warning("%s: it is rebuilt", error)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(part, name, made, count)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write the cache {path.parent} ({error.strerror}): set A2SG_CACHE to a folder with free "
            "space"
        ) from error
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(part: Path, name: str, made: Iterable[tuple[str, np.ndarray]], count: int) -> None:
    """Write the frames recording by recording, so that they need not fit into memory."""
    array, first = None, ""
    for at, (recording, frames) in enumerate(progress(made, f"frames of {name}", count)):
        if array is None:
            shape, first = (count, *frames.shape), recording
            array = np.lib.format.open_memmap(part, mode="w+", dtype=frames.dtype, shape=shape)
        if frames.shape != array.shape[1:]:
            raise InputError(f"{recording} gives frames {frames.shape}, but {first} {array.shape[1:]}")
        array[at] = frames
    assert array is not None
    array.flush()


def read_frames(file: Path, make: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The frames that `make` returns for a file.

    Raises:
        InputError: if it fails, in whatever way the reader of a format may fail.
    """
    try:
        with told("it is damaged"):
            return make(file)
    except InputError as error:
        raise InputError(f"cannot read the recording {file}: {error}") from error
