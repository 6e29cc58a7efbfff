"""A progress bar for anything that takes long, if there is a terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], title: str, total: int, show: bool | None = None) -> Iterator[Item]:
    """The items, with a bar on stderr, which disappears at the end on a terminal.

    Args:
        items: what is worked on.
        title: what is being done.
        total: how many items there are.
        show: whether there is a bar; None shows one on a terminal, if rich is installed.
    """
    if show is None and importlib.util.find_spec("rich") is None:
        show = False
    if show is not False:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        if show or console.is_terminal:  # up to rich 14.2, a bar that is only disabled prints an empty line
            items = track(items, title, total, console=console, transient=console.is_terminal)
    yield from items
