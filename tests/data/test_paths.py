"""Paths of strangers' recipes, and folders that cannot be listed."""

from pathlib import Path

import pytest

from a2sg.data import create_data
from a2sg.data.cache import cache_folder
from a2sg.data.paths import inner_folder, path_of
from a2sg.errors import InputError
from layouts import write_arrays

NO_PATHS = {
    "nobody's home": "~nobodyx",
    "long name": "a" * 300,
    "long path": "a" * 5000,
    "null": "a\0b",
    "half a letter": "\ud800",
}
READERS = ("image_folder", "event_arrays", "event_folder", "camvid", "ade20k")


def told(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_path_may_begin_at_home_and_need_not_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert path_of("~/x", "it") == tmp_path / "x"
    (tmp_path / "file").touch()
    assert path_of("~/file/x", "it") == tmp_path / "file" / "x"
    assert path_of("a/b", "it") == Path("a/b")


@pytest.mark.parametrize("text", NO_PATHS.values(), ids=NO_PATHS)
def test_a_text_that_cannot_be_a_path_is_told(text):
    told(lambda: path_of(text, "it"), "^it is not a path that can be used: '.*")


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", NO_PATHS.values(), ids=NO_PATHS)
def test_a_source_that_cannot_be_a_path_is_told(name, text):
    told(lambda: create_data(name, source=text), "data.options.source is not a path that can be used")


def test_a_cache_that_cannot_be_a_path_is_told(monkeypatch):
    monkeypatch.setenv("A2SG_CACHE", "~nobodyx/cache")
    told(cache_folder, "A2SG_CACHE is not a path that can be used: '~nobodyx/cache'")


@pytest.mark.parametrize("name", ["/etc", "..", "a/../..", "", ".", "/"])
def test_a_folder_in_a_source_is_inside(tmp_path, name):
    write_arrays(tmp_path)
    told(
        lambda: create_data("event_arrays", source=str(tmp_path), axes="ypt", train=name),
        "train must be the name of a folder in the source, not '",
    )


@pytest.mark.parametrize("name", ["a***b", "tr[a-z]in", "*"])
def test_the_name_of_a_folder_is_no_pattern(tmp_path, name):
    write_arrays(tmp_path)
    told(
        lambda: create_data("event_arrays", source=str(tmp_path), axes="ypt", train=name),
        "has no .npy files directly in a folder",
    )


def test_a_folder_may_be_one_of_many():
    assert inner_folder("a/b", "train") == "a/b"


@pytest.mark.parametrize(("name", "method"), [("image_folder", "iterdir"), ("event_folder", "glob")])
@pytest.mark.parametrize("kind", [FileNotFoundError, PermissionError])
def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch, name, method, kind):
    def fails(*_):
        raise kind(1, "the reason", "some\nfile")

    monkeypatch.setattr(Path, method, fails)
    told(
        lambda: create_data(name, source=str(tmp_path)),
        f"data set '{name}' cannot be read .some file: the reason.$",
    )
