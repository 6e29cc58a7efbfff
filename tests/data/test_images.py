"""Static images: read from every layout they come in, split once and for all, fed in whole batches."""

import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from a2sg.data import create_data
from a2sg.data.encoded import Encoded, decoded, pixels, read_image
from a2sg.data.images import moments
from a2sg.data.sets import ArrayImages, collate
from a2sg.errors import InputError
from labelled_images import CLASSES, assert_holds, picture, real, stacked, write_tree


def test_a_tree_is_read_in_the_order_of_classes_and_names(tmp_path):
    data = create_data("image_folder", source=str(write_tree(tmp_path / "tree")))
    assert data.classes == CLASSES
    assert data.shape == (3, 4, 6)
    assert data.train[0][0].dtype == torch.uint8
    assert_holds(data)


def test_a_tree_may_lie_one_folder_down_with_folders_in_classes_and_other_files(tmp_path):
    tree = write_tree(tmp_path / "download" / "tree")
    (tree / "train" / "README.txt").write_text("no class", encoding="utf-8")
    (tree / "train" / "ant" / "boxes.txt").write_text("no image", encoding="utf-8")
    inner = tree / "train" / "bee" / "images"
    inner.mkdir()
    for file in (tree / "train" / "bee").glob("*.png"):
        file.rename(inner / file.name)
    assert_holds(create_data("image_folder", source=str(tmp_path / "download")))


@pytest.mark.parametrize(("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar", "w")])
def test_an_archive_is_read_as_its_tree(tmp_path, suffix, mode):
    tree = write_tree(tmp_path / "tree")
    path = tmp_path / f"images{suffix}"
    with tarfile.open(path, mode) as archive:
        for file in sorted(tree.rglob("*.png"), reverse=True):
            archive.add(file, f"some/top/{file.relative_to(tree)}")
    assert_holds(create_data("image_folder", source=str(path)))


def test_val_is_the_test_split_where_there_is_no_test(tmp_path):
    tree = write_tree(tmp_path / "tree", {"train": 4, "val": 2})
    assert_holds(create_data("image_folder", source=str(tree)))


def test_the_second_time_comes_from_the_cache_until_a_file_changes(tmp_path, cache, monkeypatch):
    tree = write_tree(tmp_path / "tree")
    create_data("image_folder", source=str(tree))
    opened = []
    original = Encoded.picture
    monkeypatch.setattr(Encoded, "picture", lambda self, index: opened.append(1) or original(self, index))
    assert_holds(create_data("image_folder", source=str(tree)))
    assert not opened
    picture(2, 9).save(tree / "test" / "cat" / "01.png")
    os.utime(tree / "test" / "cat" / "01.png", ns=(0, 1))
    changed = create_data("image_folder", source=str(tree))
    assert opened
    assert torch.equal(changed.test[5][0], torch.tensor(np.asarray(picture(2, 9)).transpose(2, 0, 1)))
    assert len(list(cache.iterdir())) == 2


def test_grey_images_become_rgb_and_rgb_grey(tmp_path):
    tree = write_tree(tmp_path / "tree")
    picture(0, 0, mode="L").save(tree / "train" / "ant" / "00.png")
    coloured, _ = create_data("image_folder", source=str(tree)).train[0]
    assert torch.equal(coloured, torch.tensor(np.asarray(picture(0, 0, mode="L"))).expand(3, -1, -1))
    grey = create_data("image_folder", source=str(tree), channels=1)
    assert grey.shape == (1, 4, 6)
    assert_holds(grey, mode="L")


@pytest.mark.parametrize("suffix", ["png", "pgm", "tiff"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.array([[0, 257, 32768, 65535]] * 4, dtype=np.uint16)).save(path)
    assert read_image(path, 1, 4)[0, 0].tolist() == [0, 1, 128, 255]
    assert read_image(path, 3, 4)[:, 0, 2].tolist() == [128, 128, 128]
    held = Encoded([path], np.array([0]))
    assert decoded(held, 1, None)[0, 0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_thirty_two_bits_are_told(tmp_path, kind):
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.ones((4, 4), dtype=kind)).save(path)
    with pytest.raises(InputError, match=r"deep\.tiff has 32 bits per pixel .* save it with 8 or 16 bits"):
        read_image(path, 1, 4)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "L", "LA"])
def test_every_mode_of_image_gives_pixels(mode):
    made = picture(0, 0).convert("L").convert(mode) if mode in ("LA", "1") else picture(0, 0, mode=mode)
    for channels in (1, 3):
        result = pixels(made, channels, 5)
        assert result.shape == (channels, 5, 5)
        assert result.dtype == np.uint8


def test_images_are_scaled_to_the_middle_square(tmp_path):
    tree = write_tree(tmp_path / "tree", size=(8, 4))
    data = create_data("image_folder", source=str(tree), image_size=2)
    assert data.shape == (3, 2, 2)
    image = np.asarray(picture(0, 0, size=(8, 4)))[:, 1:7].astype(float)  # the square, and a column beside it
    # The bilinear filter for a half: weights 1, 3, 3, 1 around each new pixel, cut off at the image's border.
    down = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    across = np.array([[1, 3, 3, 1, 0, 0], [0, 0, 1, 3, 3, 1]]) / 8
    wanted = np.einsum("yi,xj,ijc->cyx", down, across, image)
    assert np.abs(data.train[0][0].numpy() - wanted).max() <= 1


def test_images_of_different_sizes_need_a_size(tmp_path):
    tree = write_tree(tmp_path / "tree")
    picture(1, 0, size=(5, 7)).save(tree / "train" / "bee" / "00.png")
    with pytest.raises(InputError, match=r"6x4 and 5x7 pixels: set data\.options\.image_size"):
        create_data("image_folder", source=str(tree))
    assert create_data("image_folder", source=str(tree), image_size=4).shape == (3, 4, 4)


def test_trees_that_cannot_work_are_told(tmp_path):
    tree = write_tree(tmp_path / "tree")
    with pytest.raises(InputError, match=r"has 3 classes, but 'cifar10' has 10"):
        create_data("cifar10", source=str(tree))
    (tree / "test" / "dog").mkdir()
    picture(0, 0).save(tree / "test" / "dog" / "0.png")
    with pytest.raises(InputError, match=r"has a class 'dog' in test/ but none in train/"):
        create_data("image_folder", source=str(tree))
    for file in (tree / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(InputError, match=r"no images in test or val or validation or valid/CLASS/"):
        create_data("image_folder", source=str(tree))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no images of 'image_folder'.*train/CLASS"):
        create_data("image_folder", source=str(tmp_path / "empty"))
    (tmp_path / "empty" / "images.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"in that archive, name the file: .*empty.images\.tar\.gz$"):
        create_data("image_folder", source=str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"needs data\.options\.source: a folder with train/CLASS"):
        create_data("image_folder")
    with pytest.raises(InputError, match=r"there is no .*nowhere\.tar\.gz: set data\.options\.source"):
        create_data("cifar10", source="nowhere.tar.gz")
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"images\.zip is not an archive \(\.tar\.gz"):
        create_data("cifar10", source=str(tmp_path / "images.zip"))


def test_a_damaged_image_or_archive_is_told_and_nothing_is_cached(tmp_path, cache):
    tree = write_tree(tmp_path / "tree")
    broken = tree / "train" / "bee" / "02.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=r"bee/02\.png is damaged or missing"):
        create_data("image_folder", source=str(tree))
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tree, "tree")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"the archive .*images\.tar\.gz is damaged"):
        create_data("image_folder", source=str(path))
    assert not list(cache.glob("*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ({"holdout": 1.0}, r"holdout must be at least 0 and below 1, not 1\.0"),
        ({"holdout": "half"}, "holdout must be at least 0 and below 1, not 'half'"),
        ({"holdout": 0.01}, "leaves one part empty"),
        ({"image_size": 0}, "image_size must be a whole number of at least 1, not 0"),
        ({"channels": 2}, "unknown number of channels '2'"),
        ({"source": 3}, "source must be a path or a name on the hub, not 3"),
    ],
)
def test_options_out_of_range_are_told(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        create_data("image_folder", **{"source": str(write_tree(tmp_path / "tree")), **options})


def test_limit_and_holdout_together(tmp_path):
    tree = write_tree(tmp_path / "tree", {"train": 10, "test": 5})
    whole, _ = stacked(create_data("image_folder", source=str(tree)).train)
    data = create_data("image_folder", source=str(tree), limit=12)
    images, labels = stacked(data.train)
    assert labels == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(images, whole[[0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]])
    assert len(data.test) == 12
    held = create_data("image_folder", source=str(tree), limit=12, holdout=0.25)
    assert sorted(stacked(held.test)[1]) == [0, 1, 2]
    assert sorted(stacked(held.train)[1]) == [0] * 3 + [1] * 3 + [2] * 3
    both = torch.cat([stacked(held.train)[0], stacked(held.test)[0]])
    assert {image.numpy().tobytes() for image in both} == {image.numpy().tobytes() for image in images}
    assert "25% of the training images, held out" in held.description


def test_moments_are_numpys():
    images = np.random.RandomState(0).randint(0, 256, (7, 3, 5, 4), dtype=np.uint8)
    mean, std = moments(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)))
    np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)))
    with pytest.raises(InputError, match="channel 1 of the training images is 0 everywhere"):
        moments(images * np.array([1, 0, 1], dtype=np.uint8)[:, None, None])


def test_a_loader_takes_whole_batches_that_equal_the_samples():
    images = np.random.RandomState(0).randint(0, 256, (10, 3, 2, 2), dtype=np.uint8)
    dataset = ArrayImages(images, np.arange(10) % 4)
    batches = list(DataLoader(dataset, batch_size=4, collate_fn=collate))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    together = torch.cat([batch for batch, _ in batches]), torch.cat([labels for _, labels in batches])
    wanted = stacked(dataset)
    assert torch.equal(together[0], wanted[0])
    assert together[0].dtype == torch.uint8
    assert together[1].tolist() == wanted[1]


OFFICIAL = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.slow
def test_real_cifar10(cache):
    source = str(real("cifar-10") / "cifar10-imagefolder-jpeg.tar.gz")
    data = create_data("cifar10", source=source)
    assert data.classes == OFFICIAL
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.train.labels.bincount().tolist() == [5000] * 10
    assert data.test.labels.bincount().tolist() == [1000] * 10
    mean, std = moments(data.train.images.numpy())
    assert mean == pytest.approx(data.mean, abs=1e-3)
    assert std == pytest.approx(data.std, abs=2e-3)  # JPEG smooths
    few = create_data("cifar10", source=source, limit=100)
    assert few.classes == OFFICIAL
    assert torch.equal(few.train.images[:10], data.train.images[:10])
    with tarfile.open(source) as archive:
        member = archive.extractfile("cifar10-imagefolder-jpeg/test/truck/0999.jpg")
        last = np.asarray(Image.open(member))
    assert np.array_equal(data.test.images[-1].numpy(), last.transpose(2, 0, 1))
