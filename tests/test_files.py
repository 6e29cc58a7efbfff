"""Tables of runs: written and read again, and told where they are damaged."""

import os
from itertools import pairwise

import pytest

from a2sg.errors import InputError
from a2sg.files import GrowingTable, csv_text, read_rows, read_searches, require_plain, write_text

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


def grown(path, count=3):
    """A table of so many rows."""
    table = GrowingTable(path, ("iteration", "layer", "window"))
    table.begin()
    for at in range(count):
        table.append([{"iteration": at, "layer": "a,b", "window": 0.1 * at or None}])
    return table


@pytest.mark.parametrize("left", [os.mkfifo, lambda path: path.symlink_to(path.with_name("other"))])
def test_what_was_left_there_is_replaced_and_not_written_to(tmp_path, left):
    """A link in a stranger's folder would make us write elsewhere, and a pipe would wait for ever."""
    other = tmp_path / "other"
    other.write_text("precious", encoding="utf-8")
    for name in ("x.json.part", "x.json"):
        left(tmp_path / name)
    write_text(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == "new"
    assert not (tmp_path / "x.json").is_symlink()
    assert other.read_text(encoding="utf-8") == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"other", "x.json"}


@pytest.mark.parametrize("name", ["x.json", "x.json.part"])
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"cannot write .*x\.json: "):
        write_text(tmp_path / "x.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("left", "kind"), [(os.mkfifo, "no file"), (lambda path: path.symlink_to("/nowhere"), "a link")]
)
def test_a_folder_is_plain_unless_it_holds_a_link_or_a_pipe(tmp_path, left, kind):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_text("x", encoding="utf-8")
    require_plain(tmp_path)
    left(tmp_path / "a" / "b" / "y")
    with pytest.raises(InputError, match=f"y is {kind}: replace it"):
        require_plain(tmp_path)


def test_a_growing_table_holds_what_a_table_written_at_once_does(tmp_path):
    table = grown(tmp_path / "x.csv")
    rows = [{"iteration": at, "layer": "a,b", "window": 0.1 * at or None} for at in range(3)]
    assert read_rows(table.path) == rows
    assert table.sync() == table.rows == 3
    assert table.path.read_bytes().decode().replace("\r", "") == csv_text(rows)


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("torn", [b"", b"4,some", b"4,b,0.5\n5"])
def test_a_table_is_cut_back_to_its_state_and_goes_on(tmp_path, caplog, rows, torn):
    whole = grown(tmp_path / "whole.csv")
    path = grown(tmp_path / "x.csv").path
    with path.open("ab") as file:
        file.write(torn)
    table = GrowingTable(path, whole.columns)
    table.resume(rows)
    table.append([{"iteration": at, "layer": "a,b", "window": 0.1 * at or None} for at in range(rows, 3)])
    assert path.read_bytes() == whole.path.read_bytes()
    assert table.rows == 3
    assert not caplog.records


HEADER = b"iteration,layer,window\r\n"


@pytest.mark.parametrize("left", [b"", HEADER[:5], HEADER[:-1], HEADER, HEADER + b"0,a,1", None])
def test_lost_rows_are_warned_of(tmp_path, caplog, left):
    path = grown(tmp_path / "x.csv").path
    if left is None:
        path.unlink()
    else:
        path.write_bytes(left)
    table = GrowingTable(path, ("iteration", "layer", "window"))
    table.resume(3)
    assert "has lost 3 of 3 rows" in caplog.text
    table.append([{"iteration": 3, "layer": "b", "window": 0.5}])
    assert read_rows(path) == [{"iteration": 3, "layer": "b", "window": 0.5}]


def test_a_table_that_is_removed_meanwhile_begins_again(tmp_path, caplog):
    table = grown(tmp_path / "x.csv")
    table.path.unlink()
    for at in (3, 4):
        table.append([{"iteration": at, "layer": "b", "window": 0.5}])
    assert "x.csv was removed, and with it 3 rows" in caplog.text
    assert [row["iteration"] for row in read_rows(table.path)] == [3, 4]
    assert table.rows == 2


@pytest.mark.parametrize("header", [b"iteration,layer\r\n", b"x" * 2_000_000, b"x"])
def test_a_table_of_other_columns_is_told_and_left_as_it_is(tmp_path, header):
    (tmp_path / "x.csv").write_bytes(header)
    with pytest.raises(InputError, match=r"x\.csv has columns other than iteration, layer, window") as told:
        GrowingTable(tmp_path / "x.csv", ("iteration", "layer", "window")).resume(0)
    assert "\n" not in str(told.value)
    assert (tmp_path / "x.csv").read_bytes() == header


@pytest.mark.parametrize("count", [0, 1, 2, 10, 11, 12, 40, 41, 1000])
def test_of_a_long_table_searches_are_read_evenly(tmp_path, count):
    rows = [{"iteration": 7 * at, "step": step, "window": 0.5} for at in range(count) for step in (1, 2)]
    (tmp_path / "x.csv").write_text(csv_text(rows) if rows else "iteration,step,window\n", encoding="utf-8")
    found = read_searches(tmp_path / "x.csv", 10)
    if count <= 10:
        assert found == rows
    assert [row["step"] for row in found] == [1, 2] * (len(found) // 2)
    at = [row["iteration"] // 7 for row in found[::2]]
    assert at[:1] + at[-1:] == ([0, count - 1] if count else [])
    assert len(at) <= 11
    assert len(at) > 5 or count <= 10
    gaps = {after - before for before, after in pairwise(at[:-1])}
    assert len(gaps) <= 1, "all but the last at one distance"


@pytest.mark.parametrize("state", ["x", [1], [{"x": 2}]])
def test_a_state_that_holds_something_else_is_told(tmp_path, state):
    with pytest.raises(InputError, match=r"cannot continue .*x\.csv") as told:
        GrowingTable(tmp_path / "x.csv", ("iteration", "layer", "window")).resume(state)
    assert "\n" not in str(told.value)
