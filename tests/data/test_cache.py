"""The cache of decoded images: made once, made again where it is damaged or a file changed."""

import os

import numpy as np
import pytest

from a2sg.data.cache import cached, fingerprint
from a2sg.errors import InputError
from labelled_images import write_tree


def test_arrays_are_made_once(cache):
    calls = []

    def make():
        calls.append(1)
        return {"numbers": np.arange(3, dtype=np.uint8), "names": np.array(["a", "bc"])}

    first = cached("some", ("key", 1), make)
    again = cached("some", ("key", 1), make)
    assert len(calls) == 1
    for name in ("numbers", "names"):
        assert np.array_equal(first[name], again[name])
        assert first[name].dtype == again[name].dtype
    cached("some", ("key", 2), make)
    assert len(calls) == 2
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_damaged_file_is_made_again(cache, damage):
    def make():
        return {"numbers": np.arange(1000)}

    cached("some", 1, make)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(cached("some", 1, make)["numbers"], np.arange(1000))
    assert list(cache.iterdir()) == [path]
    with np.load(path) as file:
        assert np.array_equal(file["numbers"], np.arange(1000))


def test_what_fails_leaves_nothing_behind(cache, monkeypatch):
    def stop(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(ZeroDivisionError):
        cached("some", 1, lambda: {"numbers": np.array(1 / 0)})
    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(InputError, match=r"No space left on device\): set A2SG_CACHE"):
        cached("some", 1, lambda: {"numbers": np.arange(3)})
    assert not list(cache.glob("*"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="set A2SG_CACHE to a folder with free space"):
        cached("some", 1, lambda: {"numbers": np.arange(3)})


def test_a_fingerprint_knows_every_file(tmp_path):
    tree = write_tree(tmp_path / "tree")
    before = fingerprint(tree)
    assert before == fingerprint(tree)
    assert len(before) == 18
    changed = tree / "train" / "bee" / "01.png"
    os.utime(changed, ns=(0, 1))
    assert fingerprint(tree) != before
    changed.unlink()
    assert len(fingerprint(tree)) == 17
