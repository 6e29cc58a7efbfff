"""Files that are written whole or not at all, and tables as CSV: written whole, growing, read again."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from a2sg.errors import InputError, require, told

log = logging.getLogger("a2sg")

LINE = 1 << 20
"""Bytes that a line of a table may have."""
JSON = 1 << 26
"""Bytes that a JSON file may have; ours have some thousands."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The file to write instead of `path`, which it then replaces: `path` is written whole or not at all.

    Whatever has its name is removed first, so a link that was left there is not followed.

    Raises:
        InputError: if it cannot be written; `path` is then unchanged.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())  # else a crash of the machine may leave an empty file of that name
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def require_plain(folder: Path) -> None:
    """Raise `InputError` if a folder holds, at any depth, anything but files and folders.

    A link in somebody else's run folder could make us write anywhere.
    """
    with told(f"cannot read {folder}"), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                require_plain(Path(entry.path))
                continue
            kind = "a link" if entry.is_symlink() else "no file"
            plain = entry.is_file(follow_symlinks=False)
            require(plain, f"{entry.path} is {kind}: replace it by a file or a folder, or delete it")


def write_text(path: Path, text: str) -> None:
    """Write `text`, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content that `write_json` wrote.

    Raises:
        InputError: if the file is missing, damaged, too large or empty, or holds something else.
    """
    with told(f"{path} is damaged"), path.open("rb") as file:
        text = file.read(JSON + 1)
        require(len(text) <= JSON, f"{path} is damaged (it has more than {JSON >> 20} MB)")
        found = json.loads(text)
    require(isinstance(found, dict) and bool(found), f"{path} is damaged (it does not map names to values)")
    return dict(found)


class GrowingTable:
    """A CSV file that rows are appended to. None of them is held in memory.

    A state is how many rows there are. The file can be cut back to a state: what was written after it is
    removed.

    Args:
        path: of the file.
        columns: of its rows; None in a row is an empty cell.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.rows = 0

    def begin(self) -> None:
        """Write the file again, without rows."""
        self.path.write_bytes(self._header())
        self.rows = 0

    def resume(self, state: int | Sequence[Mapping[str, Any]] | None) -> None:
        """Continue from a state, or from rows, which the file then holds; None begins a new file.

        Raises:
            InputError: if the file or the rows have other columns, or the file cannot be written.
        """
        with told(f"cannot continue {self.path}"):
            if isinstance(state, int):
                self.cut(state)
            else:
                self.begin()
                self.append(state or [])

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows after those that are there; if the file is gone, with a warning, into a new one."""
        with self.path.open("ab") as file:
            if file.tell() == 0:
                log.warning(
                    "%s was removed, and with it %d rows; new rows begin it again", self.path, self.rows
                )
                file.write(self._header())
                self.rows = 0
            file.write(_lines(self.columns, rows))
        self.rows += len(rows)

    def sync(self) -> int:
        """Make sure that all rows are on disk, before a state refers to them; returns how many there are."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        return self.rows

    def cut(self, rows: int) -> None:
        """Continue from a state: keep that many rows, and warn if the file has fewer.

        Raises:
            InputError: if the file has other columns.
        """
        if not self.path.is_file() or self._is_torn():
            self.begin()
        with self.path.open("r+b") as file:
            header = file.readline(LINE)
            require(
                header.split() == self._header().split(),
                f"{self.path} has columns other than {', '.join(self.columns)}: was it written by another "
                "version? Move it away to continue without its rows",
            )
            size, self.rows = len(header), 0
            while self.rows < rows and (line := file.readline(LINE)).endswith(b"\n"):
                size += len(line)
                self.rows += 1
            file.truncate(size)
        if self.rows < rows:
            log.warning("%s has lost %d of %d rows; new rows are appended", self.path, rows - self.rows, rows)

    def _is_torn(self) -> bool:
        """Whether the file ends before the end of its header."""
        with self.path.open("rb") as file:
            left = file.read(len(self._header()))
        return len(left) < len(self._header()) and self._header().startswith(left)

    def _header(self) -> bytes:
        return _lines(self.columns, [dict(zip(self.columns, self.columns, strict=True))])


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as lines of CSV."""
    file = io.StringIO()
    csv.DictWriter(file, columns).writerows(rows)
    return file.getvalue().encode()


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with the keys of the first as header; None is an empty cell."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of metrics.csv or windows.csv, typed; none where there is no file. An empty cell is None.

    Raises:
        InputError: if the file is damaged.
    """
    with _opened(path) as rows:
        return list(rows)


def read_searches(path: Path, most: int = 1000) -> list[dict[str, Any]]:
    """Rows of windows.csv as `read_rows` gives them, of at most `most` + 1 searches evenly over the file.

    The first and the last search are among them. Memory holds no more than these, however long the file is.
    """
    kept: list[list[dict[str, Any]]] = []
    last: list[dict[str, Any]] = []
    stride = 1
    with _opened(path) as rows:
        for at, (_, search) in enumerate(groupby(rows, lambda row: row.get("iteration"))):
            last = list(search)
            if at % stride == 0:
                kept.append(last)
            if len(kept) > most:
                kept, stride = kept[::2], 2 * stride
    if kept and kept[-1] is not last:
        kept.append(last)
    return list(chain.from_iterable(kept))


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The rows of a table one by one, typed; none where there is no file."""
    if not path.is_file():
        yield iter(())
        return
    with told(f"{path} is damaged"), path.open(newline="", encoding="utf-8") as file:
        lines = iter(partial(file.readline, LINE), "")
        yield ({name: _typed(name, cell) for name, cell in row.items()} for row in csv.DictReader(lines))


def _typed(name: str, cell: str) -> Any:
    if name in ("layer", "kept"):
        return cell
    if cell == "":
        return None
    return int(cell) if name in ("iteration", "step", "epoch", "skipped") else float(cell)
