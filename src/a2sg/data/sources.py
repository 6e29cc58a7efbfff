"""Where the images of a data set come from: the Hugging Face hub, or local files in known layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from a2sg.data.cache import fingerprint
from a2sg.data.encoded import Splits
from a2sg.data.folders import read_archive, read_tree, tree_root
from a2sg.data.hub import read_hub, read_parquet
from a2sg.data.idx import FILES, idx_folder, read_idx_splits
from a2sg.data.paths import path_of
from a2sg.data.there import holds
from a2sg.errors import InputError, require

ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class Published:
    """What is known about a data set, wherever its files are.

    Attributes:
        name: its registered name.
        classes: number of classes; None takes those of the source.
        evaluated: possible names of the split to evaluate on; the first that a source has is used.
        names: of the classes, for sources that only have numbers.
    """

    name: str
    classes: int | None
    evaluated: tuple[str, ...] = ("test", "val", "validation", "valid")
    names: tuple[str, ...] = ()

    def layouts(self) -> str:
        """The layouts that a local source may have, for errors."""
        test = self.evaluated[0]
        idx = f"; or of the files {', '.join(sum(FILES.values(), ()))}" if self.names else ""
        return (
            f"a folder with train/CLASS/*.png (or .jpg) and {test}/CLASS/*.png, or a .tar.gz of one; or a "
            f"folder of train*.parquet and {test}*.parquet{idx}"
        )


@dataclass(frozen=True)
class Source:
    """A place with images, found but not yet read."""

    identity: Callable[[], object]
    """Changes when the content does: part of the cache key."""
    read: Callable[[], Splits]


def find_source(source: str | None, known: Published) -> Source:
    """The source for a path or name given by the user.

    Args:
        source: a path, or a name on the hub.
        known: the data set.

    Raises:
        InputError: if there is no such path, or it has no known layout.
    """
    instead = f"set data.options.source to {known.layouts()}"
    if source is None:
        raise InputError(f"data set {known.name!r} needs data.options.source: {known.layouts()}")
    path = path_of(source, "data.options.source")
    if path.is_dir():
        return _folder(path, known)
    if path.is_file():
        require(path.name.endswith(ARCHIVES), f"{path} is not an archive ({', '.join(ARCHIVES)}): {instead}")
        read = partial(read_archive, path, known.evaluated)
        return _checked(partial(fingerprint, path), read, known, source)
    is_name = source.count("/") <= 1 and not source.startswith((".", "/", "~"))
    require(is_name and not source.endswith(ARCHIVES), f"there is no {path}: {instead}")
    # A published data set does not change, so its name is enough, even when the hub is out of reach later.
    read = partial(read_hub, source, known.evaluated, known.classes, instead)
    return _checked(lambda: source, read, known, source)


def _folder(path: Path, known: Published) -> Source:
    idx = idx_folder(path) if known.names else None
    read: Callable[[], Splits]
    if idx is not None:
        read = partial(read_idx_splits, idx, known.names)
    elif (root := tree_root(path)) is not None:
        read = partial(read_tree, root, known.evaluated)
    elif any(path.rglob("*.parquet")):
        read = partial(read_parquet, path, known.evaluated, known.classes)
    else:
        archive = next((one for one in sorted(path.iterdir()) if one.name.endswith(ARCHIVES)), None)
        hint = f". If the images are in that archive, name the file: {archive}" if archive else ""
        raise InputError(
            f"{path} holds no images of {known.name!r} in a known layout: {holds(path)}. "
            f"data.options.source must be {known.layouts()}{hint}"
        )
    return _checked(partial(fingerprint, idx or path), read, known, str(path))


def _checked(
    identity: Callable[[], object], read: Callable[[], Splits], known: Published, source: str
) -> Source:
    def read_and_check() -> Splits:
        splits = read()
        found = len(splits.classes)
        require(
            known.classes in (None, found),
            f"{source} has {found} classes, but {known.name!r} has {known.classes}: for your own images use "
            "data set image_folder",
        )
        return splits

    return Source(identity, read_and_check)
