"""The notebooks of examples/ run, and hold what they print and draw; the docs show them."""

import json

import pytest
import torch

import notebooks
from notebooks import NOTEBOOKS, code, page, read, run, text_of

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def kinds(outputs):
    return [(one["output_type"], *one.get("data", ())) for one in outputs]


@pytest.mark.slow
@every_notebook
def test_it_runs_and_gives_what_is_stored(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    try:
        given = run(path)
    finally:
        torch.set_num_threads(threads)
    stored = [cell["outputs"] for _, cell in code(read(path))]
    assert list(map(kinds, given)) == list(map(kinds, stored)), "python tests/support/notebooks.py"
    assert not list(tmp_path.iterdir()), "a notebook leaves nothing behind"


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@every_notebook
def test_it_was_run_from_top_to_bottom(path):
    cells = [cell for _, cell in code(read(path))]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in one.get("data", ()) for cell in cells for one in cell["outputs"])
    assert not any(one["output_type"] == "error" for cell in cells for one in cell["outputs"])


@every_notebook
def test_its_page_has_its_words_code_and_pictures(path):
    text, pictures = page(path)
    assert text.startswith("# ")
    for _, cell in code(read(path)):
        assert text_of(cell["source"]).strip() in text
    assert pictures
    assert all(f"]({name})" in text and png.startswith(b"\x89PNG") for name, png in pictures.items())
    assert "../docs" not in text, "a link of the checkout, on a page"


def test_cells_give_what_jupyter_shows(tmp_path):
    sources = [
        "x = 2\nprint(x)\nx + 1",
        "x;",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "x = None\nx",
    ]
    cells = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": text}
        for text in sources
    ]
    cells.insert(1, {"cell_type": "markdown", "metadata": {}, "source": ["words"]})
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    notebooks.store(path)
    first, *others = (cell["outputs"] for _, cell in code(read(path)))
    assert [text_of(first[0]["text"]), text_of(first[1]["data"]["text/plain"])] == ["2\n", "3"]
    assert list(map(kinds, others)) == [[], [("display_data", "image/png")], []]


def test_an_error_in_a_cell_is_raised(tmp_path):
    cell = {"cell_type": "code", "source": ["a = 1\n", "a / 0"], "outputs": []}
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        run(path)
