"""Memory for images: what is free, and what is told before more is taken."""

import numpy as np
import pytest

from a2sg import allowance
from a2sg.data import create_data, room
from a2sg.data.encoded import Encoded, decoded
from a2sg.data.images import moments
from a2sg.data.room import room_for
from a2sg.data.scenes import SceneFiles
from a2sg.errors import InputError
from labelled_images import write_tree
from layouts import pictures
from mutations import bounded_memory


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    """The file in which Linux says how much is free; nothing is there yet, and no container has a limit."""
    monkeypatch.setattr(allowance, "left_memory", lambda: None)
    path = tmp_path / "meminfo"
    monkeypatch.setattr(allowance, "MEMINFO", path)
    return path


def test_images_that_need_more_than_is_free_are_told(tmp_path, meminfo):
    meminfo.write_text("MemAvailable: 3 kB\n", encoding="ascii")
    tree = write_tree(tmp_path / "tree")
    message = (
        r"images of 100x100 pixels need .* kB of memory, but only 3 kB are free: make "
        "data.options.image_size smaller, or use fewer images"
    )
    with pytest.raises(InputError, match=message):
        create_data("image_folder", source=str(tree), image_size=100)
    assert create_data("image_folder", source=str(tree), image_size=2).shape == (3, 2, 2)


def test_both_splits_must_fit(meminfo):
    images = Encoded([np.zeros((16, 16, 3), np.uint8)] * 4, np.zeros(4, np.int64))
    meminfo.write_text("MemAvailable: 5 kB\n", encoding="ascii")
    assert len(decoded(images, 3, None, 2)) == 4
    with pytest.raises(InputError, match=r"7 images of 16x16 pixels need .* kB of memory, but only 5 kB"):
        decoded(images, 3, None, 3)


def test_scenes_that_need_more_than_is_free_are_told(meminfo):
    scenes = SceneFiles([pictures(4, 6, [0, 1])] * 2, (400, 600), {0: 0, 1: 1})
    meminfo.write_text("MemAvailable: 2000 kB\n", encoding="ascii")
    with pytest.raises(InputError, match=r"2 images of 600x400 pixels need .* of memory, but only 1.953 MB"):
        scenes.loaded()
    meminfo.unlink()
    assert len(scenes.loaded()) == 2


def test_a_holdout_needs_room_for_a_second_copy(tmp_path, monkeypatch):
    free = iter([1 << 20, 1 << 20, 10])  # for each split, and for the copy
    monkeypatch.setattr(room, "free_memory", lambda: next(free))
    with pytest.raises(InputError, match="but only 10 bytes are free"):
        create_data("image_folder", source=str(write_tree(tmp_path / "tree")), holdout=0.5)


def test_memory_that_runs_out_is_told(meminfo):
    pixels = [np.zeros((4, 4, 3), np.uint8)] * 2
    images = Encoded(pixels, np.zeros(2, np.int64))
    with (
        bounded_memory(1 << 30),
        pytest.raises(
            InputError, match=r"2 images of 16384x16384 pixels need .* GB of memory, more than this"
        ),
    ):
        decoded(images, 3, 16_384)


def test_other_errors_pass(meminfo):
    with pytest.raises(ZeroDivisionError), room_for(1, 1, 1, 1):
        1 / 0  # noqa: B018


def test_moments_take_little_memory():
    images = np.resize(np.arange(256, dtype=np.uint8), (8, 1, 2048, 2048))
    with bounded_memory(200 << 20):
        (mean,), _ = moments(images)
    assert mean == pytest.approx(0.5)
