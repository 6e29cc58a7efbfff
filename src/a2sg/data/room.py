"""Memory for many images: compared with what is free before any of it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from a2sg.allowance import free_memory
from a2sg.data.untrusted import size
from a2sg.errors import InputError, many


@contextmanager
def room_for(count: int, width: int, height: int, each: int) -> Iterator[None]:
    """Inside, memory is taken for images.

    Args:
        count: how many.
        width: of each, in pixels.
        height: likewise.
        each: bytes of an image.

    Raises:
        InputError: if they need more than is free, and if memory runs out inside.
    """
    needed = f"{many(count, 'image')} of {width}x{height} pixels need {size(count * each)} of memory"
    instead = "make data.options.image_size smaller, or use fewer images"
    free = free_memory()
    if free is not None and count * each > free:
        raise InputError(f"{needed}, but only {size(free)} are free: {instead}")
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{needed}, more than this process can have: {instead}") from error
