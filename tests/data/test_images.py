"""Static images: read from every layout they come in, split once and for all, fed in whole batches."""

import gzip
import hashlib
import io
import os
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch.utils.data import DataLoader

from a2sg.data import create_data
from a2sg.data.cache import cached, fingerprint
from a2sg.data.encoded import Encoded, UnreadableImage, middle, pixels
from a2sg.data.idx import FILES, read_idx
from a2sg.data.images import FASHION, moments
from a2sg.data.sets import ArrayImages, Draw, DrawSampler, collate
from a2sg.data.splits import hold_out, spread
from a2sg.data.views import ASPECTS, random_box
from a2sg.errors import InputError
from places import DATA

datasets = pytest.importorskip("datasets", reason="needs a2sg[train]")


CLASSES = ("ant", "bee", "cat")
COUNTS = {"train": 4, "test": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("A2SG_CACHE", str(folder))
    return folder


def picture(label, number, size=(6, 4), mode="RGB"):
    """An image that tells its class and number, and no two of whose pixels are alike."""
    generator = np.random.RandomState(100 * label + number)
    return Image.fromarray(generator.randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def write_tree(root, counts=COUNTS, classes=CLASSES, **options):
    """A tree of PNG files, which lose nothing."""
    for split, count in counts.items():
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(label, number, **options).save(folder / f"{number:02}.png")
    return root


def stacked(dataset):
    images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    return torch.stack(images), list(labels)


def expected(count, classes=CLASSES, mode="RGB"):
    """What `write_tree` wrote, in the order of class and number."""
    images = [np.asarray(picture(label, n, mode=mode)) for label in range(len(classes)) for n in range(count)]
    images = [image[None] if image.ndim == 2 else image.transpose(2, 0, 1) for image in images]
    return torch.from_numpy(np.stack(images)), [label for label in range(len(classes)) for _ in range(count)]


def assert_holds(data, counts=COUNTS, mode="RGB"):
    for split, dataset in (("train", data.train), ("test", data.test)):
        images, labels = stacked(dataset)
        wanted, wanted_labels = expected(counts[split], mode=mode)
        assert torch.equal(images, wanted)
        assert labels == wanted_labels


# Parts of a data set.

labels_of = arrays.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4))


@given(labels=labels_of, count=st.integers(1, 80))
def test_spread_takes_the_first_of_each_class_in_proportion(labels, count):
    taken = spread(labels, count)
    assert len(taken) == min(count, len(labels))
    assert (np.diff(taken) > 0).all()
    for label in range(5):
        members = np.flatnonzero(labels == label)
        mine = [index for index in taken if labels[index] == label]
        assert mine == members[: len(mine)].tolist()
        assert abs(len(mine) - len(taken) * len(members) / len(labels)) < 1.5


def test_spread_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    assert spread(labels, 4).tolist() == [0, 1, 4, 6]
    assert spread(np.array([2, 1, 0, 2, 1, 0]), 3).tolist() == [0, 1, 2]


@given(labels=labels_of, share=st.floats(0.05, 0.95))
def test_the_held_out_part_is_a_stratified_share(labels, share):
    count = round(share * len(labels))
    if not 0 < count < len(labels):
        with pytest.raises(InputError, match="leaves one part empty"):
            hold_out(labels, share)
        return
    kept, held = hold_out(labels, share)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert len(held) == count
    for label in range(5):
        members = (labels == label).sum()
        assert abs((labels[held] == label).sum() - count * members / len(labels)) < 1.5


def test_the_held_out_part_is_the_one_written_down():
    _, held = hold_out(np.arange(60_000) % 10, 0.1)
    digest = hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()
    assert digest == "fad1aba4ee2c0ff2bc61800e952fd4d7a28fd7ea78b0f9a9c7ba2c52d4453233"
    assert (np.bincount(held % 10) == 600).all()


# The cache.


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
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="set A2SG_CACHE to a folder with room"):
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


# Layouts.


def test_a_tree_is_read_in_the_order_of_classes_and_names(tmp_path):
    data = create_data("image_folder", source=str(write_tree(tmp_path / "tree")))
    assert data.classes == CLASSES
    assert data.shape == (3, 4, 6)
    assert data.train[0][0].dtype == torch.uint8
    assert_holds(data)


def test_a_tree_may_lie_one_folder_down_with_folders_in_classes_and_other_files(tmp_path):
    tree = write_tree(tmp_path / "download" / "tree")
    (tree / "train" / "README.txt").write_text("no class")
    (tree / "train" / "ant" / "boxes.txt").write_text("no image")
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


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "I;16", "LA"])
def test_every_mode_of_image_gives_pixels(mode):
    made = (
        picture(0, 0).convert("L").convert(mode) if mode in ("I;16", "LA", "1") else picture(0, 0, mode=mode)
    )
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
    with pytest.raises(InputError, match=r"has 3 classes, but 'cifar10' 10"):
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
    with pytest.raises(InputError, match=r"needs data\.options\.source: a folder with train/CLASS"):
        create_data("image_folder")
    with pytest.raises(InputError, match=r"there is no .*nowhere\.tar\.gz: set data\.options\.source"):
        create_data("cifar10", source="nowhere.tar.gz")
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"images\.zip is no archive \(\.tar\.gz"):
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
        ({"source": 3}, "source must be a path or a hub's name, not 3"),
    ],
)
def test_options_out_of_range_are_told(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        create_data("image_folder", **{"source": str(write_tree(tmp_path / "tree")), **options})


# Parts of the whole, and their statistics.


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


# IDX.


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
        (gzip.compress(labels[:-1]), "no whole IDX file"),
        (gzip.compress(labels[:3]), "no whole IDX file"),
        (gzip.compress(b""), "no whole IDX file"),
        (gzip.compress(idx_bytes(np.arange(20))), "must have labels from 0 to 9"),
        (gzip.compress(idx_bytes(np.zeros(19))), "do not belong together"),
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


# Parquet, and the hub.


def rows(count, column="img", label="label", names=CLASSES):
    """A split as `datasets` holds it."""
    content = []
    for at in range(len(names)):
        for number in range(count):
            buffer = io.BytesIO()
            picture(at, number).save(buffer, "PNG")
            content.append({column: {"bytes": buffer.getvalue(), "path": None}, label: at, "coarse": 0})
    features = {
        "coarse": datasets.ClassLabel(names=["all"]),
        column: datasets.Image(),
        label: datasets.ClassLabel(names=list(names)),
    }
    return datasets.Dataset.from_list(content, features=datasets.Features(features))


def write_parquet(folder, test="test"):
    folder.mkdir()
    for split, count in (("train", 4), (test, 2)):
        rows(count).remove_columns("coarse").to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("test", ["test", "validation"])
def test_parquet_files_are_read(tmp_path, test):
    data = create_data("image_folder", source=str(write_parquet(tmp_path / "files", test)))
    assert data.classes == CLASSES
    assert_holds(data)


def test_parquet_files_that_tell_no_features_are_read(tmp_path):
    import pyarrow.parquet as parquet

    folder = write_parquet(tmp_path / "files")
    for path in folder.iterdir():
        parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
    data = create_data("image_folder", source=str(folder))
    assert data.classes == ("0", "1", "2")
    assert_holds(data)


def test_parquet_files_that_cannot_work_are_told(tmp_path):
    folder = write_parquet(tmp_path / "files")
    test = folder / "test-00000-of-00001.parquet"
    test.write_bytes(test.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot read the parquet files"):
        create_data("image_folder", source=str(folder))
    test.unlink()
    with pytest.raises(InputError, match="has the splits train: it needs train and test or val"):
        create_data("image_folder", source=str(folder))
    rows(2).remove_columns("img").to_parquet(test)
    rows(2).remove_columns("img").to_parquet(folder / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match="no column of images, only "):
        create_data("image_folder", source=str(folder))


class Hub:
    """Stands in for the hub: what it holds, and whether it is in reach."""

    def __init__(self, monkeypatch, splits, reachable=True):
        import huggingface_hub

        self.calls = []

        def dataset_info(api, name, **options):
            if not reachable:
                raise ConnectionError("no route to host\nmore")

        def load_dataset(name):
            self.calls.append((name, datasets.config.HF_HUB_OFFLINE))
            if splits is None:
                raise FileNotFoundError(f"{name} is not here")
            return splits

        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def hub_splits(test="test"):
    return datasets.DatasetDict({"train": rows(4), test: rows(2)})


def test_a_name_is_read_from_the_hub_and_then_from_the_cache(monkeypatch):
    hub = Hub(monkeypatch, hub_splits())
    data = create_data("image_folder", source="some/images")
    assert data.classes == CLASSES
    assert_holds(data)
    assert_holds(create_data("image_folder", source="some/images"))
    assert hub.calls == [("some/images", False)]


@pytest.mark.parametrize(
    ("name", "source", "classes", "shape"),
    [
        ("cifar10", "uoft-cs/cifar10", 10, (3, 32, 32)),
        ("cifar100", "uoft-cs/cifar100", 100, (3, 32, 32)),
        ("fashion_mnist", "zalando-datasets/fashion_mnist", 10, (1, 28, 28)),
        ("tiny_imagenet", "zh-plus/tiny-imagenet", 200, (3, 64, 64)),
    ],
)
def test_published_sets_have_their_names_and_shapes(monkeypatch, name, source, classes, shape):
    names = [f"class {number:03}" for number in range(classes)]
    # Two columns of labels, as CIFAR-100 has; the one with the right number of classes counts.
    splits = {split: rows(1, "img", "fine_label", names) for split in ("train", "test", "valid")}
    hub = Hub(monkeypatch, datasets.DatasetDict(splits))
    data = create_data(name)
    assert hub.calls == [(source, False)]
    assert data.shape == shape == data.train[0][0].shape
    assert data.classes == tuple(names)
    assert len(data.mean) == len(data.std) == shape[0]


def test_a_hub_out_of_reach_gives_what_it_has_downloaded_before(monkeypatch):
    before = datasets.config.HF_HUB_OFFLINE
    hub = Hub(monkeypatch, hub_splits(), reachable=False)
    assert_holds(create_data("image_folder", source="some/images"))
    assert hub.calls == [("some/images", True)]
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("reachable", [True, False])
def test_a_hub_that_gives_nothing_says_which_files_to_put_where(monkeypatch, reachable):
    before = datasets.config.HF_HUB_OFFLINE
    Hub(monkeypatch, None, reachable)
    with pytest.raises(InputError) as told:
        create_data("fashion_mnist")
    message = str(told.value)
    assert "\n" not in message
    assert ("is not here" if reachable else "no route to host") in message
    for part in (
        "data.options.source",
        "train/CLASS/*.png",
        ".tar.gz",
        "train*.parquet",
        *sum(FILES.values(), ()),
    ):
        assert part in message
    assert before == datasets.config.HF_HUB_OFFLINE


def test_splits_without_labels_are_told(monkeypatch):
    splits = hub_splits()
    splits["test"] = splits["test"].map(lambda row: {**row, "label": -1})
    Hub(monkeypatch, splits)
    with pytest.raises(InputError, match="has images without a class in column 'label'"):
        create_data("image_folder", source="some/images")


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    import sys

    folder = write_parquet(tmp_path / "files")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"package datasets, of the extra a2sg\[train\]"):
        create_data("image_folder", source=str(folder))


# ImageNet: views made when they are asked for.


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    scale=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
)
def test_a_random_part_lies_inside_and_has_its_area_and_aspect(width, height, scale, seed):
    left, top, right, bottom = random_box((width, height), scale, np.random.default_rng(seed))
    assert 0 <= left < right <= width + 1e-9
    assert 0 <= top < bottom <= height + 1e-9
    across, down = right - left, bottom - top
    if (left, top, right, bottom) != middle((width, height)):
        assert scale - 1e-9 <= across * down / (width * height) <= 1 + 1e-9
        assert ASPECTS[0] - 1e-9 <= across / down <= ASPECTS[1] + 1e-9


def test_the_middle_by_hand():
    assert middle((10, 6)) == (2, 0, 8, 6)
    assert middle((6, 10), 0.5) == (1.5, 3.5, 4.5, 6.5)


@pytest.fixture
def views(tmp_path):
    tree = write_tree(tmp_path / "views", {"train": 4, "val": 2}, size=(40, 30))
    return create_data("imagenet", source=str(tree), image_size=16)


def test_evaluation_sees_the_middle(views):
    image, label = views.test[3]
    box = (20 - 13.125, 15 - 13.125, 20 + 13.125, 15 + 13.125)  # 224/256 of the 30 pixels
    wanted = picture(1, 1, size=(40, 30)).resize((16, 16), Image.Resampling.BILINEAR, box=box)
    assert label == 1
    assert torch.equal(image, torch.tensor(np.asarray(wanted).transpose(2, 0, 1)))
    assert views.classes == CLASSES
    assert (len(views.train), len(views.test)) == (12, 6)


def test_every_epoch_and_seed_draws_its_own_view_and_the_same_again(views):
    drawn = [views.train[Draw(5, epoch, seed)][0] for epoch, seed in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], views.train[5][0])
    assert views.train[Draw(5, 0, 0)][1] == views.train[5][1] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_views_do_not_depend_on_the_worker(views, workers):
    sampler = DrawSampler(views.train, num_replicas=1, rank=0, seed=3)
    sampler.set_epoch(2)
    loader = DataLoader(views.train, 5, sampler=sampler, num_workers=workers, collate_fn=collate)
    images = torch.cat([images for images, _ in loader])
    order = [draw.sample for draw in sampler]
    assert sorted(order) == list(range(12))
    wanted = [views.train[Draw(at, 2, 3)][0] for at in order]
    assert torch.equal(images, torch.stack(wanted))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_one_line_from_a_worker_too(tmp_path, workers):
    tree = write_tree(tmp_path / "tree", {"train": 2, "val": 2}, size=(40, 30))
    data = create_data("imagenet", source=str(tree), image_size=16)
    (tree / "val" / "bee" / "01.png").write_bytes(b"no image")
    with pytest.raises(UnreadableImage) as told:
        list(DataLoader(data.test, 2, num_workers=workers, collate_fn=collate))
    assert str(told.value).startswith("image ")
    assert "bee/01.png is damaged or missing (UnidentifiedImageError)" in str(told.value)
    assert "\n" not in str(told.value)


def test_parts_of_imagenet(tmp_path):
    tree = write_tree(tmp_path / "tree", {"train": 8, "val": 4}, size=(40, 30))
    data = create_data("imagenet", source=str(tree), image_size=16, limit=6, crop_scale=1.0, holdout=0.5)
    assert (len(data.train), len(data.test)) == (3, 3)
    assert torch.equal(data.train[Draw(0, 1, 1)][0], data.train[0][0])
    for scale in (0, 1.5, "all"):
        with pytest.raises(InputError, match="crop_scale must be above 0 and at most 1"):
            create_data("imagenet", source=str(tree), crop_scale=scale)


# Real files.


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here (A2SG_TEST_DATA names the folder of it)")
    return path


OFFICIAL = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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


def test_real_imagenet_files(tmp_path):
    sample = real("imagenet-sample")
    folders = sorted(folder for folder in sample.iterdir() if folder.is_dir())
    for split in ("train", "val"):
        (tmp_path / "tree" / split).mkdir(parents=True)
        for folder in folders:
            (tmp_path / "tree" / split / folder.name).symlink_to(folder)
    data = create_data("imagenet", source=str(tmp_path / "tree"), image_size=64)
    assert data.classes == tuple(folder.name for folder in folders)
    for at in range(len(folders)):
        for image, label in (data.test[at], data.train[Draw(at, 0, 0)]):
            assert image.shape == (3, 64, 64)
            assert image.dtype == torch.uint8
            assert label == at
