"""Pictures as bytes, and all files of a result put into their folder together."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2sg.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawn(figure: Figure, kind: str) -> bytes:
    """A picture as `"svg"` or `"png"`, the same bytes whenever it is drawn."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "a2sg"}):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return file.getvalue()


def as_json(content: Mapping[str, Any]) -> bytes:
    """Plain data, for people to read, too."""
    return (json.dumps(content, indent=2) + "\n").encode()


def put(folder: Path, content: Mapping[str, bytes]) -> list[Path]:
    """Write files, by their names, into a folder that is made if it is not there: all of them or none.

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
