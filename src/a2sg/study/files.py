"""Common to all results: date and versions, pictures as bytes, writing files into a folder."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from a2sg._version import __version__
from a2sg.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def made() -> dict[str, Any]:
    """Date and versions."""
    versions = {"a2sg": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"date": date.today().isoformat(), "versions": versions}


def versions(facts: Mapping[str, Any]) -> str:
    """The date and versions of `made`, in words."""
    return ", ".join(f"{name} {version}" for name, version in facts["versions"].items())


def framed(
    rows: int, columns: int, width: float, height: float, dpi: int, **options: Any
) -> tuple[Figure, list[list[Axes]]]:
    """A figure, its size in inches, with panels in a grid; options are those of `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, [list(line) for line in grid]


def drawn(figure: Figure, kind: str) -> bytes:
    """A picture as `"svg"` or `"png"`, the same bytes whenever it is drawn."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "a2sg"}):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return file.getvalue()


def as_json(content: Mapping[str, Any]) -> bytes:
    """Plain data as JSON that people can read too."""
    return (json.dumps(content, indent=2) + "\n").encode()


def put(folder: Path, content: Mapping[str, bytes]) -> list[Path]:
    """Write files, by name, into a folder, which is created if necessary: all of them or none.

    Raises:
        InputError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        try:
            for name, data in content.items():
                (made / name).write_bytes(data)
            for name in content:
                os.replace(made / name, folder / name)
        finally:
            shutil.rmtree(made)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return [folder / name for name in content]
