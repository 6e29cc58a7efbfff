"""Paths from recipes, whose text may be anything, and folders that may not be listed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from a2sg.errors import InputError, one_line, require, shortened, told

SHOWN = 120
"""Characters of a path that errors repeat, of its beginning and its end."""


def path_of(text: str, name: str) -> Path:
    """The path that a text stands for, with `~` as the home folder; nothing need be there.

    Args:
        text: of a recipe, an option or a variable.
        name: of the option, such as `data.options.source`, for errors.

    Raises:
        InputError: for a text that no file can have as its path, such as one that is too long.
    """
    with told(f"{name} is not a path that can be used: {_shown(text)!r}"):
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)
    return path


def inner_folder(text: str, name: str) -> str:
    """Return `text`; raise `InputError` unless it can be the name of a folder inside another.

    Args:
        text: of an option.
        name: of the option.
    """
    path = PurePath(text)
    inside = bool(path.parts) and not path.anchor and ".." not in path.parts
    require(inside, f"{name} must be the name of a folder in the source, not {_shown(text)!r}")
    return text


@contextmanager
def listing(what: str) -> Iterator[None]:
    """Say in one line if a folder or a file in it cannot be looked at, for example because it is not yours.

    Args:
        what: is read, such as "data set 'digits'".
    """
    try:
        yield
    except OSError as error:
        at = f"{_shown(str(error.filename))}: " if error.filename else ""
        reason = one_line(f"{at}{error.strerror or type(error).__name__}")
        raise InputError(f"{what} cannot be read ({reason})") from error


def _shown(path: str) -> str:
    return shortened(path, SHOWN)
