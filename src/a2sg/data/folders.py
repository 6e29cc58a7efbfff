"""Images in folders by split and class, as a tree of files or a .tar.gz of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from a2sg.data.archives import tar_members
from a2sg.data.encoded import Encoded, Splits
from a2sg.data.labels import require_names
from a2sg.data.there import holds
from a2sg.errors import InputError, require

TRAIN = "train"
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

Found = tuple[str, str, str, Any]
"""Split, class, the rest of its path, and what `Encoded` takes, of an image."""


def tree_root(folder: Path) -> Path | None:
    """The folder that contains `train`: `folder` or one below; None if there is none."""
    below = sorted(child for child in folder.iterdir() if child.is_dir())
    return next((root for root in (folder, *below) if (root / TRAIN).is_dir()), None)


def read_tree(root: Path, evaluated: Sequence[str]) -> Splits:
    """The images below `root/train/CLASS` and `root/test/CLASS`.

    Args:
        root: see `tree_root`.
        evaluated: names of the test split's folder; the first one that exists is used.

    Raises:
        InputError: if a split is missing or empty, or has a class that training does not have.
    """
    splits = (TRAIN, *(name for name in evaluated if (root / name).is_dir()))
    found = (
        (split, folder.name, file.relative_to(folder).as_posix(), str(file))
        for split in splits
        for folder in sorted((root / split).iterdir())
        if folder.is_dir()
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
    )
    return _sorted_out(found, evaluated, str(root))


def read_archive(path: Path, evaluated: Sequence[str]) -> Splits:
    """The same from a tar archive, compressed or not; the files' contents are held in memory.

    Raises:
        InputError: if it is damaged, and as for `read_tree`.
    """
    members = tar_members(path, lambda name: _place(name, evaluated) is not None)
    found = ((*place, content) for name, content in members if (place := _place(name, evaluated)))
    return _sorted_out(found, evaluated, str(path))


def _place(member: str, evaluated: Sequence[str]) -> tuple[str, str, str] | None:
    """Split, class and the rest of an image's path in an archive; None for any other file."""
    name = PurePosixPath(member)
    for depth, part in enumerate(name.parts[:-2]):
        if part == TRAIN or part in evaluated:
            fits = name.suffix.lower() in SUFFIXES
            return (part, name.parts[depth + 1], "/".join(name.parts[depth + 2 :])) if fits else None
    return None


def _sorted_out(found: Iterable[Found], evaluated: Sequence[str], source: str) -> Splits:
    """Images by split, in the order of class and path; classes are numbered in the order of their names."""
    by_split: dict[str, list[Found]] = {}
    for image in found:
        by_split.setdefault(image[0], []).append(image)
    test = next((name for name in evaluated if name in by_split), None)
    if TRAIN not in by_split or test is None:
        missing = TRAIN if TRAIN not in by_split else " or ".join(evaluated)
        there = Path(source)
        found_there = f"; {holds(there)}" if there.is_dir() else ""
        raise InputError(
            f"{source} has no images in {missing}/CLASS/: it needs a folder per class there, with "
            f"{', '.join(sorted(SUFFIXES))}{found_there}"
        )
    classes = sorted({name for _, name, _, _ in by_split[TRAIN]})
    strange = {name for _, name, _, _ in by_split[test]} - set(classes)
    require(not strange, f"{source} has a class {min(strange, default='')!r} in {test}/ but none in {TRAIN}/")
    require_names(classes, source)
    number = {name: label for label, name in enumerate(classes)}

    def split(name: str) -> Encoded:
        images = sorted(by_split[name], key=lambda image: image[1:3])
        return Encoded([image[3] for image in images], np.array([number[image[1]] for image in images]))

    return Splits(split(TRAIN), split(test), tuple(classes))
