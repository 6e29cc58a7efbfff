"""The rule for untrusted HDF5 files, and reading by it; `a2sg.data.apart` runs this in a separate process.

Such a file can name other files, ask for plugins, claim any size, and contain itself. Only groups, numbers
and text are read, if they lie in the file itself; their size is checked before anything is allocated.
"""

from __future__ import annotations

import math
import os
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np

OBJECTS = 20_000
"""Maximum number of groups and datasets that are copied; the NIR graph of a SEW-ResNet34 has 608."""
DEPTH = 16
"""Maximum depth of nested groups."""
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""The allowed filters. Others are rare, and their decoders are plugins or have had faults."""
POINTER = 16
"""Bytes in memory for a text, or for a row of its own length, besides what it holds."""


def rows(path: str, names: list[str], first: int, last: int | None, most: int) -> list[np.ndarray]:
    """Rows of datasets `[N]`: for each name their lengths, and the values of all of them end to end.

    A number has length 1, and text is its bytes.

    Args:
        path: of the file.
        names: of the datasets, which may have rows of different lengths.
        first: first row.
        last: the row after the last one; None reads all.
        most: bytes that a dataset may claim, without what its rows hold.

    Raises:
        ValueError: if the file breaks the rule.
    """
    arrays = []
    with opened(path) as file:
        for name in names:
            here = file
            for part in name.split("/"):
                here = member(here, part)
            require_plain(here, most, ragged=True)
            said = f"{name!r} has the shape {here.shape}"
            require(len(here.shape) == 1, f"{said}, not (N,)")
            require(last is None or last <= here.shape[0], f"{said}, which is less than {last} rows")
            arrays += flat(here[first:last], here.dtype)
    return arrays


def copy(path: str, most: int, module: str, function: str) -> np.ndarray:
    """The bytes of a new file with the same groups and datasets, which a library's function can read.

    Args:
        path: of the file.
        most: bytes that all of its datasets may hold.
        module: of the function.
        function: reads the new file once, so that it fails here if it does.

    Raises:
        ValueError: if the file breaks the rule.
    """
    content = BytesIO()
    with opened(path) as source, opened(content, "w") as target:
        Copy(most).fill(target, source)
    getattr(import_module(module), function)(content)
    return np.frombuffer(content.getbuffer(), np.uint8)


def opened(path: str | BytesIO, mode: str = "r") -> Any:
    """An HDF5 file."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # so that the library loads no filters from disk
    import h5py

    return h5py.File(path, mode)


class Copy:
    """What may still be copied, and what already was.

    Args:
        most: bytes that all datasets may hold.
    """

    def __init__(self, most: int) -> None:
        self.most = self.left = most
        self.seen: set[int] = set()

    def fill(self, target: Any, source: Any, depth: int = 0) -> None:
        """Copy the content of one group into another."""
        import h5py

        require(depth <= DEPTH, f"{source.name!r} lies deeper than {DEPTH} groups")
        self.once(source)
        for name in source:
            one = member(source, name)
            if isinstance(one, h5py.Group):
                self.fill(target.create_group(name), one, depth + 1)
                continue
            require_plain(one, self.left, ragged=False)
            self.once(one)
            values = one[()]
            self.spend(one, values)
            target.create_dataset(name, data=values, dtype=one.dtype)

    def once(self, one: Any) -> None:
        """Refuse a second link to an object: groups may so hold themselves, or 2^N of each other."""
        import h5py

        found = h5py.h5o.get_info(one.id)
        require(found.addr not in self.seen, f"{one.name!r} is linked twice")
        self.seen.add(found.addr)
        require(len(self.seen) <= OBJECTS, f"it has more than {OBJECTS:,} groups and datasets")

    def spend(self, one: Any, values: Any) -> None:
        """Count the bytes of a dataset."""
        texts = values.ravel().tolist() if one.dtype == object and one.shape else [values]
        self.left -= sum(map(len, texts)) if one.dtype == object else one.nbytes
        require(self.left >= 0, f"it holds more than {self.most:,} bytes")


def member(group: Any, name: Any) -> Any:
    """The object of this name in a group, if it lies in the same file.

    Raises:
        ValueError: if there is none, or only the name of a place where it could be.
    """
    import h5py

    where = f"{name!r} in {group.name!r}"
    require(isinstance(group, h5py.Group), f"there is no {where}: that is a {type(group).__name__}")
    require(isinstance(name, str) and "/" not in name, f"{where} is not a name")
    links, link = group.id.links, name.encode()  # which, unlike `group.get`, do not look for what is linked
    require(links.exists(link), f"there is no {where}")
    kind = links.get_info(link).type
    require(
        kind == h5py.h5l.TYPE_HARD, f"{where} is a link to another place: put what it names there instead"
    )
    return group[name]


def require_plain(one: Any, most: int, ragged: bool) -> None:
    """Raise `ValueError` unless an object is a dataset of numbers or text that lies in the file itself.

    Args:
        one: the object.
        most: bytes that it may claim.
        ragged: whether its rows may be numbers of any count.
    """
    import h5py

    require(isinstance(one, h5py.Dataset), f"{one.name!r} is a {type(one).__name__}, not a dataset")
    made = one.id.get_create_plist()
    elsewhere = made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count() > 0
    require(not elsewhere, f"{one.name!r} takes its values from other files")
    filters = {made.get_filter(at)[0] for at in range(made.get_nfilters())}
    unknown = sorted(filters - FILTERS.keys())
    require(not unknown, f"{one.name!r} has the filters {unknown}: allowed are {', '.join(FILTERS.values())}")
    text = h5py.check_string_dtype(one.dtype) is not None
    inner = h5py.check_vlen_dtype(one.dtype) if ragged else None
    fits = text or is_number(one.dtype if inner is None else inner)
    require(fits, f"{one.name!r} has the type {one.dtype}: it must hold numbers or text")
    require(one.shape is not None, f"{one.name!r} is empty")
    width = POINTER if one.dtype == object else one.dtype.itemsize
    for shape in (one.shape, one.chunks or ()):
        size = math.prod(shape) * width
        require(
            size <= most, f"{one.name!r} has the shape {shape}, {size:,} bytes: at most {most:,} are read"
        )


def is_number(kind: Any) -> bool:
    """Whether a type of numpy is one of plain numbers."""
    return isinstance(kind, np.dtype) and kind.kind in "biuf"


def flat(values: np.ndarray, kind: np.dtype) -> list[np.ndarray]:
    """The lengths `[N]` of rows, and their values end to end."""
    import h5py

    if is_number(kind):
        return [np.ones(len(values), np.int64), values.astype(kind.str)]
    inner = h5py.check_vlen_dtype(kind)
    if h5py.check_string_dtype(kind) is not None:
        inner = np.dtype(np.uint8)
        values = [np.frombuffer(text, inner) for text in values.tolist()]  # type: ignore[assignment]
    lengths = np.array([len(row) for row in values], np.int64)
    return [lengths, np.concatenate([np.empty(0, inner.str), *values])]


def require(condition: bool, message: str) -> None:
    """Raise `ValueError` with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)
