"""Data sets by name."""

from __future__ import annotations

from typing import Any

from a2sg.data import ade20k as _ade20k  # noqa: F401  (registers itself)
from a2sg.data import camvid as _camvid  # noqa: F401
from a2sg.data import digits as _digits  # noqa: F401
from a2sg.data import digits_events as _digits_events  # noqa: F401
from a2sg.data import digits_scenes as _digits_scenes  # noqa: F401
from a2sg.data import event_arrays as _event_arrays  # noqa: F401
from a2sg.data import event_folder as _event_folder  # noqa: F401
from a2sg.data import events as _events  # noqa: F401
from a2sg.data import images as _images  # noqa: F401
from a2sg.data import spoken as _spoken  # noqa: F401
from a2sg.data import views as _views  # noqa: F401
from a2sg.data.encoded import read_image
from a2sg.data.paths import listing
from a2sg.data.sets import DATA, ArrayImages, Held, ImageData, register_data
from a2sg.errors import require

__all__ = [
    "ArrayImages",
    "Held",
    "ImageData",
    "create_data",
    "describe_data",
    "list_data",
    "read_image",
    "register_data",
]


def create_data(name: str, **options: Any) -> ImageData:
    """A data set.

    Args:
        name: one of `list_data()`.
        **options: options of the data set's entry function.

    Raises:
        InputError: for an unknown name or option, or a package or file that is missing or cannot be read.
    """
    source = options.get("source")
    require(
        source is None or (isinstance(source, str) and source != ""),
        f"source must be a path or a name on the hub, not {source!r}",
    )
    with listing(f"data set {name!r}"):
        data: ImageData = DATA.create(name, **options)
    made = isinstance(data, ImageData)
    require(made, f"the entry of data set {name!r} must give an ImageData, not {type(data).__name__}")
    return data


def list_data(pattern: str = "*") -> list[str]:
    """Names of the data sets that match a shell pattern, sorted."""
    return DATA.names(pattern)


def describe_data() -> dict[str, str]:
    """One line about each data set, by name."""
    return dict(sorted(DATA.describe().items()))
