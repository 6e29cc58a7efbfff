"""Untrusted HDF5 files: a separate process reads them, by the rule of `a2sg.data.hdf5_child`."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from a2sg.data import hdf5_child
from a2sg.data.apart import Apart
from a2sg.data.untrusted import RATIO, ROOM, require_file
from a2sg.errors import InputError

COPY = 1 << 30
"""Maximum number of bytes in a file that is copied whole."""


class Rows(NamedTuple):
    """Rows of a dataset; each may have another length."""

    lengths: np.ndarray
    """`[N]`, of each row."""
    values: np.ndarray
    """Of all rows, end to end."""

    def each(self) -> list[np.ndarray]:
        """The rows."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


class RowReader:
    """Reads rows of datasets. The separate process starts with the first file, and ends with the context."""

    def __init__(self) -> None:
        self.apart = Apart(hdf5_child.__file__, "rows")

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *reason: object) -> None:
        self.apart.close()

    def read(self, path: Path, names: Sequence[str], first: int = 0, last: int | None = None) -> list[Rows]:
        """Rows of each dataset `[N]` of numbers, of text (its bytes), or of rows of numbers.

        Args:
            path: of the file.
            names: of the datasets.
            first: first row.
            last: the row after the last one; None reads all.

        Raises:
            InputError: if the file cannot be read by the rule.
        """
        parts = _asked(self.apart, require_file(path), list(names), first, last, ROOM)
        return [Rows(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def copied(path: Path, module: str, function: str) -> BytesIO:
    """A new file with the content of an HDF5 file; a library's function can read it: the process has tried.

    Args:
        path: of the file.
        module: of the function.
        function: takes a file, such as `nir.read`.

    Raises:
        InputError: if the file cannot be copied by the rule, or the function fails or takes too long.
    """
    most = min(COPY, max(ROOM, RATIO * require_file(path).stat().st_size))
    with Apart(hdf5_child.__file__, "copy") as apart:
        (content,) = _asked(apart, path, most, module, function)
    return BytesIO(content.data)


def _asked(apart: Apart, path: Path, *arguments: object) -> list[np.ndarray]:
    try:
        return apart.read_all(path, *arguments)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
