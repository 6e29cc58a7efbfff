"""Data sets: whole, split once and for all, standardised by the training images."""

import hashlib
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from a2sg.data import ArrayImages, ImageData, create_data, describe_data, list_data
from a2sg.errors import InputError

sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="needs a2sg[train]")


@pytest.fixture(scope="module")
def digits():
    return create_data("digits")


def stacked(dataset):
    images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    return torch.stack(images), list(labels)


def pixels(digits):
    """The images of both splits as the whole numbers 0 .. 16 they were made from."""
    images = [stacked(split)[0] for split in (digits.train, digits.test)]
    low, high = min(x.min() for x in images), max(x.max() for x in images)
    return [((x - low) / (high - low) * 16).round().to(torch.uint8).numpy() for x in images]


def test_data_sets_are_listed_with_a_description():
    assert {"digits", "cifar10"} <= set(list_data()) == set(describe_data())
    assert list_data("cifar*0") == ["cifar10", "cifar100"]
    assert list_data("x*") == []
    assert "1,797" in describe_data()["digits"]


def test_digits_are_images_and_labels(digits):
    assert isinstance(digits, ImageData)
    assert (len(digits.train), len(digits.test)) == (1197, 600)
    assert digits.classes == tuple("0123456789")
    for split in (digits.train, digits.test):
        image, label = split[0]
        assert image.shape == digits.shape == (1, 8, 8)
        assert image.dtype == torch.float32
        assert type(label) is int


def test_the_splits_are_disjoint_and_make_up_the_whole(digits):
    raw = sklearn_datasets.load_digits()
    expected = Counter(
        (image.astype(np.uint8).tobytes(), int(label))
        for image, label in zip(raw.images, raw.target, strict=True)
    )
    found = Counter()
    for split, images in zip((digits.train, digits.test), pixels(digits), strict=True):
        found.update((image.tobytes(), label) for image, label in zip(images, stacked(split)[1], strict=True))
    assert found == expected


def test_the_split_is_stratified(digits):
    train, test = (Counter(stacked(split)[1]) for split in (digits.train, digits.test))
    for label in range(10):
        share = 600 / 1797 * (train[label] + test[label])
        assert abs(test[label] - share) <= 1


def test_the_split_is_the_one_written_down(digits):
    found = hashlib.sha256(pixels(digits)[1].tobytes()).hexdigest()
    assert found == "3472b1f29952bdf34a0dd6a17f479607cc6b0cfcc939231754926954f2836ac0"


def test_training_images_are_standardised(digits):
    images = stacked(digits.train)[0]
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)


def test_no_seed_changes_the_data_and_the_data_changes_no_seed(digits):
    np.random.seed(5)
    torch.manual_seed(5)
    again = create_data("digits")
    drawn = np.random.rand(), torch.rand(()).item()
    assert torch.equal(stacked(again.test)[0], stacked(digits.test)[0])
    np.random.seed(5)
    torch.manual_seed(5)
    assert drawn == (np.random.rand(), torch.rand(()).item())


def test_what_cannot_work_is_told():
    with pytest.raises(InputError, match=r"unknown data set 'digit' .*'digits'"):
        create_data("digit")
    with pytest.raises(InputError, match="data set 'digits' takes no options, not 'limit'"):
        create_data("digits", limit=3)


def test_a_missing_extra_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"need the extra a2sg\[train\]: pip install 'a2sg\[train\]'"):
        create_data("digits")


def test_labels_are_classes_or_the_numbers_of_a_regression():
    images = np.zeros((3, 1, 2, 2), np.float32)
    for labels in (np.array([0, 2, 1]), np.array([0.0, 2.0, 1.0])):
        data = ArrayImages(images, labels)
        assert data.labels.dtype == torch.int64
        assert [data[at][1] for at in range(3)] == [0, 2, 1]
    numbers = np.array([[0.5, 2.0], [1.5, -1.0], [0.0, 0.25]])
    data = ArrayImages(images, numbers)
    assert data.labels.dtype == torch.float32
    assert data[1][1].tolist() == [1.5, -1.0]
    assert data.__getitems__([2, 0])[1].tolist() == [[0.0, 0.25], [0.5, 2.0]]
    with pytest.raises(InputError, match=r"for regression give K numbers for each sample, \[N, K\]"):
        ArrayImages(images, np.array([0.5, 1.0, 2.0]))
