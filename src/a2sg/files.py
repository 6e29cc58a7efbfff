"""Files that are written whole or not at all, and tables as CSV."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from a2sg.errors import told


def write_text(path: Path, text: str) -> None:
    """Write `text`, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine may leave an empty file of that name
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


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
    if not path.is_file():
        return []
    with told(f"{path} is damaged"), path.open(newline="", encoding="utf-8") as file:
        return [{name: _typed(name, cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def _typed(name: str, cell: str) -> Any:
    if name in ("layer", "kept"):
        return cell
    if cell == "":
        return None
    return int(cell) if name in ("iteration", "step", "epoch") else float(cell)
