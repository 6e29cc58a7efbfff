"""Memory for many images: compared with what is free before any of it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from a2sg.data.untrusted import size
from a2sg.errors import InputError, many

MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes of main memory that programs may still take; None if the system does not say."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


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
