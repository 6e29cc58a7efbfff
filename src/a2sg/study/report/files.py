"""The files of an analysis, put into their folder once all of them are made."""

from __future__ import annotations

from pathlib import Path

from a2sg.errors import InputError, require
from a2sg.files import csv_text, read_json
from a2sg.study.files import as_json, drawn, put
from a2sg.study.report.page import page
from a2sg.study.report.panel import AnalysisData, plain

PAGE, DATA = "analysis.html", "analysis.json"


def save(found: AnalysisData, folder: Path) -> list[Path]:
    """See `Analysis.save`."""
    require_free(folder)
    stale = _written_before(folder)
    content = _content(found)
    written = put(folder, content)
    for name in stale - content.keys():
        (folder / name).unlink(missing_ok=True)
    return written


def require_free(folder: Path) -> None:
    """Require that a folder is new, empty, or holds an analysis.

    Raises:
        InputError: if it does not.
    """
    require(not folder.exists() or folder.is_dir(), f"--out must be a folder, but {folder} is a file")
    require(
        not folder.exists() or not any(folder.iterdir()) or (folder / DATA).is_file(),
        f"{folder} holds something other than an analysis (no {DATA}): choose another --out",
    )


def _content(found: AnalysisData) -> dict[str, bytes]:
    """Every file by its name; the page is the last."""
    panels = [panel for section in found.sections.values() for panel in section.panels]
    content: dict[str, bytes] = {}
    pictures = {}
    for panel in panels:
        figure = panel.draw()
        content |= {f"{panel.name}.{kind}": drawn(figure, kind) for kind in ("svg", "png")}
        pictures[panel.name] = content[f"{panel.name}.svg"]
        content[f"{panel.name}.csv"] = csv_text([plain(row) for row in panel.rows]).encode()
    names = [*content, DATA, PAGE]
    numbers = {**found.to_dict(), "files": names}
    content[DATA] = as_json(numbers)
    content[PAGE] = page(found, pictures).encode()
    return content


def _written_before(folder: Path) -> set[str]:
    """Files of an earlier analysis, as it says itself; only names in the folder count."""
    path = folder / DATA
    if not path.is_file():
        return set()
    try:
        names = read_json(path).get("files")
    except InputError:
        return set()
    if not isinstance(names, list):
        return set()
    return {name for name in names if isinstance(name, str) and Path(name).name == name}
