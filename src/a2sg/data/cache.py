"""Arrays that are made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from a2sg.data.paths import path_of
from a2sg.errors import InputError, told

log = logging.getLogger(__name__)

LAYOUT = 1
"""Part of every key: increase it when the way arrays are made changes."""


def cache_folder() -> Path:
    """`A2SG_CACHE`, or `a2sg` in the user's cache folder."""
    chosen = os.environ.get("A2SG_CACHE")
    if chosen:
        return path_of(chosen, "A2SG_CACHE")
    return path_of(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "the folder of caches") / "a2sg"


def cached(name: str, key: object, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` returns, from the cache if it was called with this key before.

    Args:
        name: prefix of the file's name.
        key: everything on which the arrays depend; its `repr` is used.
        make: makes them.

    Raises:
        InputError: if the cache folder cannot be written.
    """
    digest = hashlib.sha256(repr((LAYOUT, key)).encode()).hexdigest()[:20]
    path = cache_folder() / f"{name}-{digest}.npz"
    if path.is_file():
        try:
            with told(f"the cached {path} is damaged"), np.load(path, allow_pickle=False) as file:
                return dict(file)
        except InputError as error:
            log.warning("%s: it is rebuilt", error)
    arrays = make()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"cannot write the cache {path.parent} ({error.strerror}): set A2SG_CACHE to a folder with free "
            "space"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return arrays


def fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """A key that changes when a file, or anything in a folder, changes: names, sizes, modification times."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [(str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
