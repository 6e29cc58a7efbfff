"""Members of archives, read one by one: nothing is written to disk, whatever names an archive has."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from a2sg.data.untrusted import CHUNK, Allowance, Readable, size
from a2sg.errors import InputError, require, told

MEMBERS = 2_000_000
"""Maximum number of members of an archive: ImageNet has 1.3 million."""
DIRECTORY = 64 << 20
"""Maximum size of a zip's list of members, in bytes."""
HEADER = 1 << 20
"""Maximum size of the headers of one member of a tar, in bytes: names have some hundreds."""
GZIP = b"\x1f\x8b"
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Allowed compression methods of a zip's members: others unpack far more at once than requested."""
ENCRYPTED = 0x1
INSTEAD = "unpack it, and give the folder"

Wanted = Callable[[str], bool]


def tar_members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in a tar archive, plain or packed with gzip.

    Args:
        path: of the archive.
        wanted: whether to read a file of this name.

    Raises:
        InputError: if it is damaged, or unpacks to more than it may.
    """
    with told(f"the archive {path} is damaged"), path.open("rb") as file:
        packed = file.peek(len(GZIP)).startswith(GZIP)
        stream = _Stream(gzip.GzipFile(fileobj=file) if packed else file, Allowance(path))
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            stream.header = None  # opening has read the first one
            count = 0
            member = archive.next()
            while member is not None:
                count = _counted(count, path)
                archive.members.clear()  # otherwise it keeps them all
                archive.pax_headers.clear()  # likewise
                if member.isreg() and wanted(member.name):
                    require(not member.issparse(), f"{path}: {member.name} is a sparse file, not an image")
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()
                member = _next(archive, stream)
        while stream.read(CHUNK):  # at its end gzip compares the checksum
            pass


def zip_members(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in a zip.

    Args:
        path: of the zip.
        wanted: whether to read a file of this name.

    Raises:
        InputError: if it is damaged or encrypted, or unpacks to more than it may.
    """
    with told(f"{path} is neither a folder nor a complete zip"):
        allowance = Allowance(path)
        with _Directory(path) as file, zipfile.ZipFile(file) as archive:
            count = 0
            for member in archive.infolist():
                count = _counted(count, path)
                if not wanted(member.filename):
                    continue
                name = f"{path}: {member.filename}"
                require(not member.flag_bits & ENCRYPTED, f"{name} is encrypted: {INSTEAD}")
                require(
                    member.compress_type in PACKED,
                    f"{name} is not compressed with deflate: {INSTEAD}",
                )
                with archive.open(member) as packed:
                    yield member.filename, allowance.all_of(packed)


class _Stream:
    """A stream that reads no more than its archive is allowed to hold.

    Attributes:
        header: how many bytes the header of a member may still have; None outside headers.
    """

    def __init__(self, stream: Readable, allowance: Allowance) -> None:
        self.stream = stream
        self.allowance = allowance
        self.header: int | None = HEADER

    def read(self, count: int) -> bytes:
        content = self.allowance.some_of(self.stream, count)
        if self.header is not None:  # tarfile reads it whole
            self.header -= len(content)
            path = self.allowance.path
            require(self.header >= 0, f"{path} has a header of more than {size(HEADER)}: {INSTEAD}")
        return content


def _next(archive: tarfile.TarFile, stream: _Stream) -> tarfile.TarInfo | None:
    """The member after this one, whose header is bounded; None at the end."""
    file = archive.fileobj
    assert file is not None
    # tarfile itself would skip as many bytes as a member claims, even beyond the end of the file.
    while (left := archive.offset - 1 - file.tell()) > 0:
        require(len(file.read(min(left, CHUNK))) > 0, f"the archive {stream.allowance.path} is truncated")
    stream.header = HEADER
    member = archive.next()
    stream.header = None
    return member


class _Directory(io.FileIO):
    """A zip file; zipfile reads members piece by piece, but their list at once, so that is checked first."""

    def read(self, count: int | None = -1) -> bytes:
        require(count is None or count <= DIRECTORY, f"{self.name} has a list of members that is too long")
        return super().read(count) or b""


def _counted(count: int, path: Path) -> int:
    if count == MEMBERS:
        raise InputError(f"{path} has more than {MEMBERS:,} members: {INSTEAD}")
    return count + 1
