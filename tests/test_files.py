"""Tables of runs: written and read again, and told where they are damaged."""

import pytest

from a2sg.errors import InputError
from a2sg.files import csv_text, read_rows, write_text

ROWS = [
    {"iteration": 1, "layer": "fc1", "step": 1, "window": 0.5, "tgc": None},
    {"iteration": 2, "layer": "a,b", "step": 2, "window": 1e-30, "tgc": -0.25},
]


def test_rows_are_read_as_they_were_written(tmp_path):
    (tmp_path / "x.csv").write_text(csv_text(ROWS), encoding="utf-8")
    assert read_rows(tmp_path / "x.csv") == ROWS
    assert read_rows(tmp_path / "nothing.csv") == []


@pytest.mark.parametrize(
    "content",
    [
        b"window\nx\n",
        b"iteration\n1.5\n",
        b"window\n1,2\n",
        b"window,tgc\n1\n",
        b"window\n\xff\n",
        b'window\n"' + b"1" * 200_000 + b'"\n',
        b"window\n" + b"1" * 200_000,
        b"iteration\n" + b"1" * 5000 + b"\n",
    ],
)
def test_damaged_tables_are_told(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv is damaged") as told:
        read_rows(path)
    assert "\n" not in str(told.value)


def test_text_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.txt").write_text("before", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "x.txt", "half a character: \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "before"
