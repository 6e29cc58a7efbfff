"""Images through Hugging Face's `datasets`: by a name on its hub, or from a data set's parquet files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from a2sg.data import parquet_child
from a2sg.data.apart import PATIENCE as LEAST
from a2sg.data.apart import Apart
from a2sg.data.archives import MEMBERS
from a2sg.data.cache import cache_folder
from a2sg.data.encoded import Encoded, Splits
from a2sg.data.labels import require_labels, require_names
from a2sg.data.untrusted import Allowance
from a2sg.errors import InputError, require, told

PATIENCE = 10
"""Seconds until a hub that does not answer counts as out of reach."""
SLOWEST = 10e6
"""Bytes of a parquet file that any machine unpacks per second, at least."""


def read_hub(name: str, evaluated: Sequence[str], classes: int | None, instead: str) -> Splits:
    """A data set of the hub, downloaded or from its cache.

    Args:
        name: such as `uoft-cs/cifar10`.
        evaluated: names of the test split; the first one that exists is used.
        classes: how many; tells which of several label columns is meant.
        instead: what to do where the hub cannot be reached, for the error.

    Raises:
        InputError: if it can neither be reached nor is in the cache, or holds no images with labels.
    """
    return _from_splits(open_hub(name, instead), evaluated, classes, name)


def open_hub(name: str, instead: str) -> Any:
    """The splits of a data set of the hub by their names, as `datasets` gives them.

    Args and errors: see `read_hub`.
    """
    datasets = _package()
    from huggingface_hub import HfApi

    offline, trouble = datasets.config.HF_HUB_OFFLINE, None
    try:
        # Checked once beforehand: `datasets` itself would retry for half a minute.
        HfApi().dataset_info(name, timeout=PATIENCE)
    except Exception as error:
        datasets.config.HF_HUB_OFFLINE, trouble = True, error
    try:
        with _calm(datasets):
            return datasets.load_dataset(name)
    except Exception as error:
        reason = trouble or error
        first_line = (str(reason).strip().splitlines() or [""])[0]
        raise InputError(
            f"cannot fetch {name!r} from the Hugging Face hub or its cache ({type(reason).__name__}: "
            f"{first_line}), and there is no file or folder of that name: {instead}"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def read_parquet(folder: Path, evaluated: Sequence[str], classes: int | None) -> Splits:
    """Parquet files of a folder or below, whose names begin with their split, such as `train-00000.parquet`.

    Raises:
        InputError: if a split is missing, a file is damaged, or there are no images with labels.
    """
    datasets = _package()
    files: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        split = next((name for name in ("train", *evaluated) if path.name.startswith(name)), None)
        if split is not None:
            files.setdefault(split, []).append(str(path))
    with told(f"cannot read the parquet files of {folder}"), _calm(datasets):
        cache = str(cache_folder() / "parquet")
        builder = datasets.load_dataset_builder("parquet", data_files=files, cache_dir=cache)
        if not Path(builder.cache_dir).is_dir():  # else they were checked when they were unpacked
            require_modest([Path(file) for file in itertools.chain(*files.values())])
            builder.download_and_prepare()
        splits = builder.as_dataset()
    return _from_splits(splits, evaluated, classes, str(folder), Contents)


def require_modest(paths: Sequence[Path]) -> None:
    """Raise `InputError` for a parquet file that has more rows, or unpacks to more, than it may."""
    largest = max((path.stat().st_size for path in paths), default=0)
    with Apart(parquet_child.__file__, "parquet_size", patience=LEAST + largest / SLOWEST) as apart:
        for path in paths:
            allowance = Allowance(path)
            try:
                (counts,) = apart.read_all(path, MEMBERS, allowance.most)
            except InputError as error:
                raise InputError(f"{path} cannot be unpacked: {error}") from error
            rows, size = counts.tolist()
            allowance.spend(size)
            require(rows <= MEMBERS, f"{path} has {rows:,} rows or more: at most {MEMBERS:,} are read")


class Contents(Sequence[bytes]):
    """The images of rows; refuses rows that name a file instead."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        found = self.rows[index]["bytes"]
        require(isinstance(found, bytes), f"image number {index} is not in its parquet file")
        return found


def image_feature() -> Any:
    """The type of a column whose images `datasets` does not decode."""
    return _package().Image(decode=False)


def _package() -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise InputError(
            "this source needs the package datasets, of the extra a2sg[train]: pip install 'a2sg[train]'"
        ) from error
    return datasets


@contextmanager
def _calm(datasets: Any) -> Iterator[None]:
    """Silence the messages of `datasets`, so that only the error is seen."""
    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)


def _from_splits(
    splits: Any,
    evaluated: Sequence[str],
    classes: int | None,
    source: str,
    items: Callable[[Any], Sequence[Any]] = lambda column: column,
) -> Splits:
    """Training and test split from `datasets`; `items` turns a column of images into items of `Encoded`."""
    test = next((name for name in evaluated if name in splits), None)
    if "train" not in splits or test is None:
        raise InputError(
            f"{source} has the splits {', '.join(splits)}: it needs train and {' or '.join(evaluated)}"
        )
    with told(f"{source} does not hold images with labels"):
        features = splits["train"].features
        image, label = _image_column(features, source), _label_column(features, classes, source)
        parts = []
        for rows in (splits["train"], splits[test]):
            labels = np.asarray(rows.with_format("numpy")[label][:], dtype=np.int64)
            require(
                labels.ndim == 1 and len(labels) > 0 and labels.min() >= 0,
                f"{source} has images without a class in column {label!r}",
            )
            pictures = rows.cast_column(image, image_feature())[image]
            parts.append(Encoded(items(pictures), labels))
        names = getattr(features[label], "names", None) or None
        count = require_labels([part.labels for part in parts], source, names and len(names))
        train, measured = parts
        return Splits(train, measured, require_names(names or range(count), source))


def _image_column(features: Any, source: str) -> str:
    def holds_images(feature: Any) -> bool:
        return isinstance(feature, _package().Image) or (isinstance(feature, dict) and "bytes" in feature)

    name = next((name for name, feature in features.items() if holds_images(feature)), None)
    if name is None:
        raise InputError(f"{source} has no column of images, only {', '.join(features)}")
    return str(name)


def _label_column(features: Any, classes: int | None, source: str) -> str:
    """The class labels with the right number of classes, else any, else a column of whole numbers."""
    labels = {name: f.num_classes for name, f in features.items() if isinstance(f, _package().ClassLabel)}
    numbers = [name for name, f in features.items() if getattr(f, "dtype", "").startswith(("int", "uint"))]
    fitting = [name for name, count in labels.items() if count == classes]
    name = next(iter([*fitting, *labels, *numbers]), None)
    if name is None:
        raise InputError(f"{source} has no column of labels, only {', '.join(features)}")
    return name
