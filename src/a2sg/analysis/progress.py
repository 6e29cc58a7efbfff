"""A progress bar for what takes long, where there is a terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], title: str, total: int, show: bool | None = None) -> Iterator[Item]:
    """The items, with a bar on stderr, which goes away at the end on a terminal.

    Args:
        items: what is worked on.
        title: what is being done.
        total: how many items there are.
        show: whether there is a bar; None shows one on a terminal, if rich is installed.
    """
    if show is False or (show is None and importlib.util.find_spec("rich") is None):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = show is None and not console.is_terminal
    yield from track(items, title, total, console=console, transient=console.is_terminal, disable=hidden)
