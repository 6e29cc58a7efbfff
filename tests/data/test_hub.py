"""Parquet files and names of the hub: read once, from what is there when the hub is not."""

import io

import pytest

from a2sg.data import create_data, hub
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
    with pytest.raises(
        InputError, match=r"test-00000-of-00001\.parquet cannot be unpacked: its reader fails"
    ):
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


def repeated(folder, size, count):
    """Beside the images a column of one long text, written once for all rows: a file of some kB."""
    import pyarrow
    import pyarrow.parquet as parquet

    path = folder / "train-00000-of-00001.parquet"
    table = parquet.read_table(path).slice(0, 1)
    many = pyarrow.concat_tables([table] * count)
    note = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), ["x" * size])
    parquet.write_table(
        many.append_column("note", note),
        path,
        compression="zstd",
        store_schema=False,
        dictionary_pagesize_limit=1 << 30,
    )
    return path


def with_a_lie(folder, size):
    """A column of zeros, and a footer that says they are few bytes."""
    import pyarrow
    import pyarrow.parquet as parquet

    path = folder / "train-00000-of-00001.parquet"
    table = parquet.read_table(path).slice(0, 2)
    zeros = pyarrow.array([bytes(size)] * 2)
    parquet.write_table(table.append_column("note", zeros), path, compression="zstd", use_dictionary=False)
    content, said = path.read_bytes(), parquet.read_metadata(path).row_group(0)
    numbers = [said.total_byte_size, said.column(said.num_columns - 1).total_uncompressed_size]
    for number in numbers:
        honest = varint(2 * number)
        assert honest in content
        content = content.replace(honest, varint(2 * 1000, len(honest)))
    path.write_bytes(content)
    assert parquet.read_metadata(path).row_group(0).total_byte_size == 1000
    return path


def varint(number, width=0):
    """A whole number as thrift writes it, in at least so many bytes."""
    parts = []
    while number or len(parts) < width or not parts:
        parts.append(number & 127 | 128)
        number >>= 7
    parts[-1] &= 127
    return bytes(parts)


@pytest.mark.parametrize(
    "lie",
    [lambda folder: repeated(folder, 1 << 20, 500), lambda folder: with_a_lie(folder, 130 << 20)],
    ids=["one value for all rows", "a footer that lies"],
)
def test_parquet_files_that_unpack_to_more_than_they_say_are_told(tmp_path, cache, lie):
    folder = write_parquet(tmp_path / "files")
    path = lie(folder)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="unpacks to more than 256 MB") as told:
        create_data("image_folder", source=str(folder))
    assert "\n" not in str(told.value)
    assert path.name in str(told.value)
    assert sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) < 1 << 20, (
        "and not unpacked"
    )


def test_parquet_files_are_unpacked_for_the_first_time_only(tmp_path, monkeypatch):
    folder = write_parquet(tmp_path / "files")
    seen = []
    look = hub.require_modest
    monkeypatch.setattr(hub, "require_modest", lambda paths: seen.append(len(paths)) or look(paths))
    for _ in range(2):
        assert_holds(create_data("image_folder", source=str(folder)))
    assert seen == [2]
    write_parquet(tmp_path / "others", "validation").rename(tmp_path / "more")
    assert_holds(create_data("image_folder", source=str(tmp_path / "more")))
    assert seen == [2, 2], "others are looked at"


def test_damaged_pages_are_told_with_the_name_of_their_file(tmp_path):
    folder = write_parquet(tmp_path / "files")
    path = folder / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 4) + content[4 + len(content) // 4 :])
    with pytest.raises(
        InputError, match=r"train-00000-of-00001\.parquet cannot be unpacked: its reader fails"
    ):
        create_data("image_folder", source=str(folder))
