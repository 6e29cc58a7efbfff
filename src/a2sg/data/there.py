"""The folder of a data set, and what is in it, for errors that miss something else."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from a2sg.errors import require

SHOWN, COUNTED = 5, 10_000


def holds(folder: Path) -> str:
    """Such as "it holds train/ (2 folders, 0 files), README.md and 3 more"; "it is empty" if it is.

    Of what lies in each of its folders only the numbers are told, so that a reader sees where the files
    are that were looked for elsewhere.
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
        InputError: if there is none.
    """
    folder = Path(source).expanduser()
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
