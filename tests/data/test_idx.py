"""IDX files: found, read, and refused where they are damaged."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2sg.data import create_data
from a2sg.data.idx import FILES, read_idx
from a2sg.data.images import FASHION, moments
from a2sg.errors import InputError
from labelled_images import real, stacked


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder, counts=(20, 10)):
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    written = []
    for (images_name, labels_name), count in zip(FILES.values(), counts, strict=True):
        images, labels = random.randint(0, 256, (count, 28, 28)), np.arange(count) % 10
        (folder / images_name).write_bytes(gzip.compress(idx_bytes(images)))
        (folder / labels_name).write_bytes(gzip.compress(idx_bytes(labels)))
        written.append((images, labels))
    return written


def test_idx_files_are_found_and_read(tmp_path):
    written = write_idx(tmp_path / "download" / "FashionMNIST" / "raw")
    data = create_data("fashion_mnist", source=str(tmp_path / "download"))
    assert data.classes == FASHION
    assert data.shape == (1, 28, 28)
    for dataset, (images, labels) in zip((data.train, data.test), written, strict=True):
        assert np.array_equal(stacked(dataset)[0][:, 0].numpy(), images)
        assert stacked(dataset)[1] == labels.tolist()


def test_damaged_idx_files_are_told(tmp_path):
    folder = tmp_path / "raw"
    write_idx(folder)
    path = folder / FILES["train"][1]
    whole = path.read_bytes()
    labels = idx_bytes(np.arange(20) % 10)
    for content, message in (
        (whole[:-10], "is damaged"),
        (b"no gzip", "is damaged"),
        (gzip.compress(labels[:-1]), "not a complete IDX file"),
        (gzip.compress(labels[:3]), "not a complete IDX file"),
        (gzip.compress(b""), "not a complete IDX file"),
        (gzip.compress(idx_bytes(np.arange(20))), "must have labels from 0 to 9"),
        (gzip.compress(idx_bytes(np.zeros(19))), "do not match"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            create_data("fashion_mnist", source=str(folder))
    path.unlink()
    with pytest.raises(InputError, match=r"there is no file .*train-labels"):
        create_data("fashion_mnist", source=str(folder))


@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_idx_of_any_shape(tmp_path_factory, shape, seed):
    path = tmp_path_factory.getbasetemp() / "any.gz"
    array = np.random.RandomState(seed).randint(0, 256, shape)
    path.write_bytes(gzip.compress(idx_bytes(array)))
    assert np.array_equal(read_idx(path), array)


def test_a_part_of_real_fashion_mnist():
    data = create_data("fashion_mnist", source=str(real("fashion-mnist")), limit=30)
    assert data.train.labels.bincount().tolist() == data.test.labels.bincount().tolist() == [3] * 10
    raw = read_idx(real("fashion-mnist") / "FashionMNIST" / "raw" / FILES["train"][0])
    assert np.array_equal(
        data.train.images[0, 0].numpy(), raw[0]
    )  # the first of all is the first of its class


@pytest.mark.slow
def test_real_fashion_mnist():
    data = create_data("fashion_mnist", source=str(real("fashion-mnist")))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert data.test.labels.bincount().tolist() == [1000] * 10
    mean, std = moments(data.train.images.numpy())
    assert mean == pytest.approx(data.mean, abs=5e-5)
    assert std == pytest.approx(data.std, abs=5e-5)
