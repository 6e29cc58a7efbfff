"""Parquet files and names of the hub: read once, from what is there when the hub is not."""

import io

import pytest

from a2sg.data import create_data
from a2sg.data.idx import FILES
from a2sg.errors import InputError
from labelled_images import CLASSES, assert_holds, picture

datasets = pytest.importorskip("datasets", reason="needs a2sg[train]")


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
