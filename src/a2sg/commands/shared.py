"""What several commands share."""

from __future__ import annotations

from pathlib import Path

from a2sg.errors import require
from a2sg.parser import Parser


def add_device(parser: Parser) -> None:
    """Give a command the option `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def new_file(name: str | Path) -> Path:
    """The path that `--out` gives for a new file."""
    out = Path(name)
    require(not out.is_dir(), f"--out must be a file, but {out} is a folder")
    require(out.parent.is_dir(), f"--out must be in a folder that exists, but {out.parent} does not")
    return out


def free_folder(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3 … that does not exist."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
