"""Folders and zips of event arrays, the real tactile recordings among them."""

import zipfile

import numpy as np
import pytest
import torch

from a2sg.data import create_data
from a2sg.errors import InputError
from layouts import write_arrays, zipped
from places import DATA

TACTILE = DATA / "tactile" / "Ev-Objects.zip"


def test_a_folder_is_read_with_its_axes_in_order(tmp_path):
    arrays = write_arrays(tmp_path)
    data = create_data("event_arrays", source=str(tmp_path), steps=5, axes="ypt")
    assert (data.steps, data.shape, data.classes) == (5, (2, 3, 1), ("0", "1", "2"))
    for split, dataset in (("train", data.train), ("test", data.test)):
        recordings, labels = dataset.__getitems__(range(3))
        assert labels.tolist() == [0, 2, 1]
        assert recordings.dtype == torch.float32
        for number in range(3):
            for step in range(5):
                expected = arrays[split, number][:, :, 2 * step : 2 * step + 2].sum(2).T[:, :, None]
                np.testing.assert_array_equal(recordings[number, step], expected)


@pytest.mark.parametrize(
    ("axes", "shape", "frame"),
    [("tpyx", (6, 2, 3, 4), (2, 3, 4)), ("yxt", (3, 4, 6), (1, 3, 4)), ("tx", (6, 4), (1, 1, 4))],
)
def test_missing_axes_have_a_size_of_one(tmp_path, axes, shape, frame):
    arrays = write_arrays(tmp_path, shape)
    data = create_data("event_arrays", source=str(tmp_path), steps=6, axes=axes)
    assert data.shape == frame
    in_order = np.einsum(f"{axes}->{''.join(axis for axis in 'tpyx' if axis in axes)}", arrays["train", 0])
    np.testing.assert_array_equal(data.train[0][0], in_order.reshape(6, *frame))


def test_a_zip_gives_what_its_folder_gives(tmp_path):
    write_arrays(tmp_path / "folder")
    archive = zipped(tmp_path / "folder", tmp_path / "recordings.zip")
    one, other = (
        create_data("event_arrays", source=str(source), steps=2, axes="ypt")
        for source in (tmp_path / "folder", archive)
    )
    assert torch.equal(one.train.images, other.train.images)
    assert torch.equal(one.test.labels, other.test.labels)


def test_names_of_folders_and_labels_are_options(tmp_path):
    write_arrays(tmp_path, splits=("fit", "eval"))
    for file in tmp_path.rglob("*.npy"):
        file.rename(file.with_name(file.name.replace("label_", "class")))
    data = create_data(
        "event_arrays",
        source=str(tmp_path),
        steps=1,
        axes="ypt",
        train="fit",
        test="eval",
        label=r"class(\d)",
    )
    assert data.train.labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "yp"}, r"axes must be letters of 'tpyx' \(time, .*, each at most once, with 't', not 'yp'"),
        ({"axes": "ypz"}, "axes must be letters"),
        ({"axes": "tt"}, "axes must be letters"),
        ({"axes": "ypxt"}, "has 3 axes, but axes='ypxt' names 4"),
        ({"steps": 11}, "10 bins of time: steps must be at most 10, not 11"),
        ({"label": "label_[0-9]+"}, "must have one group"),
        ({"label": "label_([0-9]+"}, "must be a regular expression"),
        ({"label": r"sample(\d)"}, "has no whole number as its label"),
        ({"test": "val"}, "no .npy files directly in a folder 'val' .it holds"),
        ({"source": "nowhere"}, "there is no folder or zip nowhere"),
        ({"source": None}, r"needs data\.options\.source"),
    ],
)
def test_what_cannot_work_is_told(tmp_path, options, message):
    write_arrays(tmp_path)
    with pytest.raises(InputError, match=message):
        create_data("event_arrays", **{"source": str(tmp_path), "axes": "ypt", **options})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "is not an .npy array"),
        (np.zeros((4, 2, 10)), "differ in shape"),
        (np.full((3, 2, 10), np.nan), "not finite"),
        (np.full((3, 2, 10), "x"), "must hold numbers"),
    ],
)
def test_recordings_that_are_none_are_told(tmp_path, content, message):
    write_arrays(tmp_path)
    path = tmp_path / "test" / "sample_9_label_0.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=message):
        create_data("event_arrays", source=str(tmp_path), axes="ypt", steps=9)


def test_a_truncated_zip_is_told(tmp_path):
    write_arrays(tmp_path / "folder")
    archive = zipped(tmp_path / "folder", tmp_path / "recordings.zip")
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(InputError, match="nor a complete zip"):
        create_data("event_arrays", source=str(archive), axes="ypt")


def test_tactile_without_a_source_says_where_it_comes_from():
    with pytest.raises(InputError, match="clear-nus/TactileSGNet"):
        create_data("tactile")


@pytest.fixture(scope="module")
def tactile():
    if not TACTILE.is_file():
        pytest.skip(f"needs {TACTILE}")
    return create_data("tactile", source=str(TACTILE), steps=10)


def test_the_real_tactile_recordings_are_all_there(tactile):
    assert (len(tactile.train), len(tactile.test)) == (576, 144)
    assert (tactile.steps, tactile.shape, len(tactile.classes)) == (10, (2, 39, 1), 36)
    assert torch.bincount(tactile.train.labels).tolist() == [16] * 36
    with zipfile.ZipFile(TACTILE) as archive:
        raw = np.load(archive.open("Ev-Objects/test/sample_0_label_20.npy"))
        total = sum(np.load(archive.open(name)).sum() for name in archive.namelist() if "/test/" in name[:-1])
    first = [label.item() for label in tactile.test.labels].index(20)
    assert tactile.test.images.sum() == total
    expected = np.stack([raw[:, :, 25 * step : 25 * step + 25].sum(2).T for step in range(10)])
    np.testing.assert_array_equal(tactile.test[first][0][..., 0], expected)


def test_the_nearest_neighbour_gets_what_is_known_of_it(tactile):
    train, test = (split.images.flatten(1) for split in (tactile.train, tactile.test))
    nearest = torch.cdist(test, train).argmin(1)
    right = (tactile.train.labels[nearest] == tactile.test.labels).float().mean().item()
    assert right == pytest.approx(0.868, abs=5e-4)
