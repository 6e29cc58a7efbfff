"""Untrusted bytes, read with limits.

Each limit is far above real data, and stops files that claim more than any computer can hold.
"""

from __future__ import annotations

import gzip
import io
import math
import stat
from pathlib import Path
from typing import Protocol

import numpy as np

from a2sg.errors import InputError, require, told

FILE = 4 << 30
"""Maximum size of a file that is read at once, in bytes."""
ROOM, RATIO = 256 << 20, 100
"""How far an archive may unpack: to this many bytes, or this many times its own size if that is more.

Images and recordings compress by a factor of 1 to 40, zeros by 1,000, and nested archives without limit.
"""
CHUNK = 1 << 20

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, count: int, /) -> bytes:
        """At most `count` bytes; none at the end."""
        ...


def require_file(path: Path, most: int = FILE) -> Path:
    """Return the path of a file that may be read; raise `InputError` for anything else.

    Args:
        path: of a regular file; pipes and devices are refused, since they may never end.
        most: largest size in bytes.
    """
    with told(f"{path} cannot be read"):
        found = path.stat()
    require(stat.S_ISREG(found.st_mode), f"{path} is not a file")
    require(
        found.st_size <= most, f"{path} has {size(found.st_size)}: the limit for such files is {size(most)}"
    )
    return path


def read_file(path: Path, most: int = FILE) -> bytes:
    """The content of a file. Args and errors: see `require_file`."""
    with told(f"{path} cannot be read"):
        return require_file(path, most).read_bytes()


def read_text(path: Path, most: int = FILE) -> str:
    """The text in a file, which must be UTF-8; a byte order mark is skipped.

    Args:
        path: of a regular file.
        most: largest size in bytes.

    Raises:
        InputError: as `require_file` does, and for another encoding.
    """
    content = read_file(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {content[error.start]:#04x} at {error.start}): save it as UTF-8"
        ) from None


class Allowance:
    """How many bytes an archive may still unpack to.

    Args:
        path: of the archive; its size sets the limit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.most = self.left = max(ROOM, RATIO * path.stat().st_size)

    def all_of(self, stream: Readable) -> bytes:
        """The rest of a stream.

        Raises:
            InputError: if that is more than the archive may still unpack to.
        """
        return b"".join(iter(lambda: self.some_of(stream, CHUNK), b""))

    def some_of(self, stream: Readable, count: int) -> bytes:
        """At most `count` bytes of a stream, none at its end. Errors: see `all_of`."""
        content = stream.read(count)
        self.spend(len(content))
        return content

    def spend(self, count: int) -> None:
        """Count bytes that were or will be unpacked. Errors: see `all_of`."""
        self.left -= count
        require(
            self.left >= 0,
            f"{self.path} unpacks to more than {size(self.most)}, at least {RATIO} times its size: if you "
            "trust it, unpack it yourself and give the folder",
        )


def gunzip(path: Path) -> bytes:
    """The content of a gzip file.

    Raises:
        InputError: if it is missing, damaged, or unpacks to too many bytes.
    """
    require(path.is_file(), f"there is no file {path}")
    with told(f"{path} is damaged"), gzip.open(path) as packed:
        return Allowance(path).all_of(packed)


def numbers(content: bytes, name: str) -> np.ndarray:
    """The array in the content of a `.npy` file.

    Args:
        content: of the file.
        name: of the file, for errors.

    Raises:
        InputError: if it is damaged, holds anything but numbers, or holds fewer than its header says.
    """
    with told(f"{name} is not an .npy array"):
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        require(version in HEADERS, f"{name} is not an .npy array of plain numbers")
        shape, _, kind = HEADERS[version](file)
        require(not kind.hasobject, f"{name} is not an .npy array of plain numbers: it holds Python objects")
        require(kind.kind in "biuf", f"{name} must hold numbers, not {kind}")
        require(min(shape, default=0) >= 0, f"{name} is not an .npy array: its header says {shape}")
        there, said = len(content) - file.tell(), math.prod(shape) * kind.itemsize
        require(said <= there, f"{name} is truncated: {size(there)} of {size(said)} are there")
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def size(count: int) -> str:
    """A number of bytes with its unit."""
    for unit, power in (("GB", 30), ("MB", 20), ("kB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):,.4g} {unit}"
    return f"{count} bytes"
