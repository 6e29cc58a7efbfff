"""What the folder of a data set contains, for errors about missing files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from a2sg.data.paths import path_of
from a2sg.errors import require

SHOWN, COUNTED = 5, 10_000


def holds(folder: Path) -> str:
    """The content in words: "it holds train/ (2 folders, 0 files), README.md and 3 more", or "it is empty".

    For inner folders it gives counts only, which is enough to see where the files are.
    """
    entries = sorted(islice(folder.iterdir(), COUNTED), key=lambda path: (not path.is_dir(), path.name))
    if not entries:
        return "it is empty"
    said = [_said(path) for path in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN:,} more" if len(entries) > SHOWN else ""
    return f"it holds {', '.join(said)}{more}"


def found_folder(source: str) -> Path:
    """The folder that `data.options.source` names.

    Raises:
        InputError: if there is no such folder.
    """
    folder = path_of(source, "data.options.source")
    require(folder.exists(), f"there is no folder {source}: set data.options.source to one that is there")
    require(folder.is_dir(), f"data.options.source must be a folder, but {source} is a file")
    return folder


def _said(path: Path) -> str:
    if not path.is_dir():
        return path.name
    inner = list(islice(path.iterdir(), COUNTED))
    folders = sum(entry.is_dir() for entry in inner)
    return f"{path.name}/ ({_count(folders, 'folder')}, {_count(len(inner) - folders, 'file')})"


def _count(number: int, thing: str) -> str:
    return f"{number:,}{'+' if number == COUNTED else ''} {thing}{'' if number == 1 else 's'}"
