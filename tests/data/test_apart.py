"""A reader in a process of its own: what it reads arrives, and its end is not ours."""

import numpy as np
import pytest

from a2sg.data.apart import Apart
from a2sg.errors import InputError

READER = """
import os
import numpy as np

def read(path):
    what, _, number = open(path).read().partition(" ")
    if what == "fail":
        raise KeyError("no \\x1b[31m such\\nthing")
    if what == "exit":
        raise SystemExit(3)
    if what == "die":
        os.abort()
    if what == "fill":
        return np.ones(int(number), dtype=np.uint8)
    if what == "hang":
        while True:
            pass
    print("noise on standard error", file=__import__("sys").stderr)
    events = np.zeros(int(number), dtype=[("t", np.int64), ("x", np.uint16), ("on", bool)])
    events["t"], events["x"], events["on"] = np.arange(len(events)) * 2**40, 7, True
    return events
"""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "some_reader.py").write_text(READER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    with Apart("some_reader", "read", memory=1 << 30, patience=20) as apart:
        yield apart


def file(folder, text):
    path = folder / f"{abs(hash(text))}.x"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_arrive_as_they_were(reader, tmp_path, capfd):
    for count in (5, 0, 100_000):
        columns = reader.read(file(tmp_path, f"give {count}"))
        expected = np.stack([np.arange(count) * 2**40, np.full(count, 7), np.ones(count)], axis=1)
        assert columns.dtype == np.int64
        assert np.array_equal(columns, expected)
    assert capfd.readouterr().err == ""


def test_one_process_reads_all_files_and_ends_with_the_context(tmp_path, monkeypatch, reader):
    assert reader.process is None  # not before it is needed
    reader.read(file(tmp_path, "give 1"))
    process = reader.process
    reader.read(file(tmp_path, "give 2"))
    assert reader.process is process
    reader.__exit__(None, None, None)
    assert process.returncode is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fail", "its reader fails .KeyError: "),
        ("exit", "its reader fails .SystemExit: 3"),
        ("die", "it ends the process that reads it"),
        (f"fill {1 << 34}", "its reader fails .*Unable to allocate 16.0 GiB"),
    ],
)
def test_its_end_is_told(reader, tmp_path, text, message):
    with pytest.raises(InputError, match=message) as told:
        reader.read(file(tmp_path, text))
    assert str(told.value).isprintable()
    assert len(reader.read(file(tmp_path, "give 3"))) == 3  # by another process, if need be


def test_it_does_not_take_for_ever(reader, tmp_path):
    reader.read(file(tmp_path, "give 1"))
    reader.patience = 0.2
    with pytest.raises(InputError, match=r"takes longer than 0\.2 s"):
        reader.read(file(tmp_path, "hang"))


def test_recordings_that_end_the_process_of_their_reader_are_told(tmp_path):
    """The package aedat panics in a destructor on a header that is no UTF-8, which aborts."""
    pytest.importorskip("aedat", reason="needs a2sg[events]")
    from a2sg.data.events import aedat4_reader
    from layouts import aedat4_file, random_events

    path = tmp_path / "x.aedat4"
    aedat4_file(path, random_events(0, 40, 128, 1000))
    whole = path.read_bytes()
    with aedat4_reader() as apart:
        assert apart.read(path).shape == (40, 4)
        for place in (200, 252):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
            with pytest.raises(InputError):
                apart.read(path)


def test_several_arrays_and_further_arguments_pass(tmp_path):
    """The function is given by its file, which lies in no folder of modules."""
    script = tmp_path / "other.py"
    script.write_text(
        "import numpy as np\ndef both(path, count):\n    return [np.ones(count, np.float16), np.array(2)]\n",
        encoding="utf-8",
    )
    with Apart(str(script), "both") as apart:
        ones, two = apart.read_all(tmp_path, 3)
    assert (ones.dtype, ones.tolist(), two.tolist()) == (np.float16, [1, 1, 1], 2)
