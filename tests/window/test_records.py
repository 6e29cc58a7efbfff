"""Where the history is kept: in memory the last searches, in a file all of them."""

import copy
import logging
import pickle
import tracemalloc

import pytest
import torch

from a2sg import AdaptiveWindows, InputError
from a2sg.baselines import CPNG
from a2sg.files import read_rows
from a2sg.window import records
from networks import NOW, Net, Plan, batch, observe
from saved import reload

POLICIES = {
    "a2sg": lambda net: AdaptiveWindows(net, **NOW, candidates=5),
    "cpng": lambda net: CPNG(net, every=1, start=0),
}


def trained(searches, make=POLICIES["a2sg"], path=None):
    """A network and its windows after so many searches, of which `path` has the history."""
    net = Net(Plan())
    windows = make(net)
    if path is not None:
        windows.record(path)
    go_on(net, windows, searches)
    return net, windows


def go_on(net, windows, searches):
    x, y = batch(4)
    for _ in range(searches):
        observe(net, windows, x + 0.1 * windows.iteration, y)


@pytest.mark.parametrize("make", POLICIES.values(), ids=list(POLICIES))
def test_a_file_has_the_history(tmp_path, make):
    _, plain = trained(4, make)
    _, windows = trained(4, make, tmp_path / "windows.csv")
    assert windows.history == plain.history == read_rows(tmp_path / "windows.csv")
    assert list(windows.history[0]) == list(windows.columns)
    assert windows.state_dict()["history"] == 4 * 2 * 4


def test_a_file_takes_what_was_there_before_it(tmp_path):
    net, windows = trained(2)
    before = windows.history
    windows.record(str(tmp_path / "windows.csv"))
    assert windows.history == before
    go_on(net, windows, 1)
    assert windows.history == trained(3)[1].history


@pytest.mark.parametrize("make", POLICIES.values(), ids=list(POLICIES))
@pytest.mark.parametrize(("kept", "first"), [("file", "load"), ("memory", "load"), ("memory", "record")])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_what_was_written_after_a_state_is_cut_off(tmp_path, make, kept, first, stop):
    """As after a kill: the file is, to the byte, that of training which was never stopped."""
    whole, path = tmp_path / "whole.csv", tmp_path / "windows.csv"
    trained(4, make, whole)
    net, windows = trained(stop, make, path if kept == "file" else None)
    saved = reload({"model": net.state_dict(), "windows": windows.state_dict()})
    go_on(net, windows, 1)
    if kept == "file":
        with path.open("a", encoding="utf-8") as file:
            file.write("4,neurons.0,1,0.")
    net = Net(Plan(), seed=9)
    windows = make(net)
    net.load_state_dict(saved["model"])
    if first == "record":
        windows.record(path)
    windows.load_state_dict(saved["windows"])
    if first == "load":
        windows.record(path)
    go_on(net, windows, 4 - stop)
    assert path.read_bytes() == whole.read_bytes()


def test_a_state_is_gone_back_to_in_the_same_file(tmp_path):
    path = tmp_path / "windows.csv"
    net, windows = trained(2, path=path)
    saved = reload({"model": net.state_dict(), "windows": windows.state_dict()})
    go_on(net, windows, 2)
    after = path.read_bytes()
    net.load_state_dict(saved["model"])
    windows.load_state_dict(saved["windows"])
    assert len(windows.history) == 2 * 8
    go_on(net, windows, 2)
    assert path.read_bytes() == after


def test_who_only_looks_at_a_state_touches_no_file(tmp_path):
    path = tmp_path / "windows.csv"
    _, windows = trained(2, path=path)
    before = path.read_bytes()
    net = Net(Plan())
    other = POLICIES["a2sg"](net)
    other.load_state_dict(reload(windows.state_dict()))
    assert other.history == []
    go_on(net, other, 1)
    assert len(other.history) == 8
    assert path.read_bytes() == before


def test_a_file_that_is_there_is_not_lost(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_text("mine", encoding="utf-8")
    _, windows = trained(1)
    with pytest.raises(InputError, match=r"windows\.csv exists already.*load_state_dict"):
        windows.record(path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert len(windows.history) == 8
    windows.record(path, anew=True)
    assert read_rows(path) == windows.history


@pytest.mark.parametrize("history", [-1, True, 1.5, "x", [1]])
def test_a_state_with_something_else_for_a_history_is_refused(history):
    _, windows = trained(1)
    with pytest.raises((InputError, TypeError)):
        windows.load_state_dict({**windows.state_dict(), "history": history})


def test_without_a_file_the_last_searches_are_kept(monkeypatch):
    rows = trained(5)[1].history
    monkeypatch.setattr(records, "RECENT", 3)
    net, windows = trained(5)
    assert windows.history == rows[2 * 8 :]
    assert windows.state_dict()["history"] == rows[2 * 8 :]
    other = POLICIES["a2sg"](net)
    other.load_state_dict({**windows.state_dict(), "history": rows})  # of a version that kept all
    assert other.history == rows[2 * 8 :]


def size(state, path):
    torch.save(state, path)
    return path.stat().st_size


@pytest.mark.parametrize("kept", ["file", "memory"])
def test_neither_memory_nor_states_grow_with_the_searches(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(records, "RECENT", 2)
    monkeypatch.setattr(logging.getLogger("a2sg"), "disabled", True)  # pytest keeps warnings
    net, windows = trained(5, path=tmp_path / "windows.csv" if kept == "file" else None)
    before = size(windows.state_dict(), tmp_path / "state")
    tracemalloc.start()
    try:
        go_on(net, windows, 5)
        held = tracemalloc.get_traced_memory()[0]
        go_on(net, windows, 50)
        grown = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()
    assert grown < 50 * 8 * 300, "bytes; a row in memory has more than 600"
    assert size(windows.state_dict(), tmp_path / "state") < before + 500


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["copy", "pickle"]
)
def test_a_copy_leaves_the_file_to_the_original(tmp_path, way):
    path = tmp_path / "windows.csv"
    net, windows = trained(2, path=path)
    twin, again = way((net, windows))
    assert again.state_dict()["history"] == windows.state_dict()["history"] == 2 * 8
    before = path.read_bytes()
    go_on(twin, again, 1)
    assert path.read_bytes() == before
    assert [row["iteration"] for row in again.history] == [2] * 8
    go_on(net, windows, 1)
    assert read_rows(path) == windows.history
    assert [row["window"] for row in windows.history[-8:]] == [row["window"] for row in again.history]


def test_an_unpickled_one_continues_the_file(tmp_path):
    path = tmp_path / "windows.csv"
    both = pickle.dumps(trained(2, path=path))
    net, windows = pickle.loads(both)
    windows.record(path)
    go_on(net, windows, 2)
    assert windows.history == trained(4)[1].history
