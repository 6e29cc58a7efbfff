"""Notebooks of `examples/`: run, stored with what they print and draw, and shown as pages of the docs.

    python tests/support/notebooks.py    # run all, and store what they give

A cell is run as Jupyter runs it: its last expression is shown, unless a semicolon ends it, and so are the
figures of pyplot that it leaves open. mkdocs calls `on_files`. Neither needs a package of Jupyter.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import linecache
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
FOLDER = "notebooks"
"""Of their pages."""

Cell = dict[str, Any]


def read(path: Path) -> list[Cell]:
    """The cells of a notebook."""
    cells: list[Cell] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def code(cells: list[Cell]) -> Iterator[tuple[int, Cell]]:
    """The cells with code, each with its number from 1."""
    return enumerate((cell for cell in cells if cell["cell_type"] == "code"), start=1)


def text_of(part: str | list[str]) -> str:
    """A text, which notebooks store as lines."""
    return part if isinstance(part, str) else "".join(part)


def run(path: Path) -> list[list[dict[str, Any]]]:
    """What each cell with code gives, as notebooks store it. An error in a cell is raised."""
    import matplotlib as mpl

    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    return [
        _outputs(text_of(cell["source"]), f"{path.name}, cell {number}", names)
        for number, cell in code(read(path))
    ]


def _outputs(source: str, name: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    from matplotlib import pyplot

    tree = ast.parse(source)
    last = tree.body[-1] if tree.body and not source.rstrip().endswith(";") else None
    value = None
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for tracebacks
    with redirect_stdout(io.StringIO()) as printed:
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    for number in pyplot.get_fignums():
        drawn = io.BytesIO()
        pyplot.figure(number).savefig(drawn, format="png", dpi=90, bbox_inches="tight")
        png = base64.b64encode(drawn.getvalue()).decode()
        found.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": png}})
    pyplot.close("all")
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        found.append({"output_type": "execute_result", "metadata": {}, "execution_count": None, "data": data})
    return found


def store(path: Path) -> None:
    """Run a notebook and write what it gives into it."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    for (number, cell), given in zip(code(whole["cells"]), run(path), strict=True):
        cell["outputs"], cell["execution_count"] = given, number
        for one in given:
            if "execution_count" in one:
                one["execution_count"] = number
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in read(path):
        source = text_of(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../"))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the code above draws]({name})")
            else:
                parts.append(f"```text\n{text_of(data['text/plain']).rstrip()}\n```")
    parts.insert(1, f"*This page is the notebook `examples/{path.name}`. Run it yourself with Jupyter.*")
    return "\n\n".join(parts) + "\n", pictures


def on_files(files: Any, config: Any) -> Any:
    """For mkdocs: adds a page for each notebook."""
    from mkdocs.structure.files import File

    for path in NOTEBOOKS:
        text, pictures = page(path)
        files.append(File.generated(config, f"{FOLDER}/{path.stem}.md", content=text))
        for name, png in pictures.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=png))
    return files


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for one in NOTEBOOKS:
        store(one)
