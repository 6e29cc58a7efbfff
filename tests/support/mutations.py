"""Files as a stranger, or a bad disk, may have changed them; and what reading one may end in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st

from a2sg.data.apart import Apart
from a2sg.errors import InputError

Change = tuple[str, int, int]
"""What is done, where, and with which number."""

WIDTHS = (1, 2, 4, 8)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


def mutated(content: bytes, changes: list[Change]) -> bytes:
    """`content` after all of the changes."""
    for kind, place, number in changes:
        at = place % (len(content) + 1)
        length = 1 + number % 64
        before, after = content[:at], content[at:]
        if kind == "flip" and after:
            content = before + bytes([after[0] ^ 1 << number % 8]) + after[1:]
        elif kind == "number":  # such as a size in a header, in either order of bytes
            width, byte = WIDTHS[number % 4], EXTREMES[number // 4 % 5]
            value = byte.to_bytes(1) + bytes([0 if byte < 2 else 0xFF]) * (width - 1)
            content = before + (value if number & 128 else value[::-1]) + after[width:]
        elif kind == "digits":  # such as one in a header of text
            found = [i for i, letter in enumerate(content[:4096]) if 48 <= letter <= 57]
            if found:
                at = found[place % len(found)]
                content = content[:at] + b"9" * (1 + number % 12) + content[at + 1 + number % 12 :]
        elif kind == "cut":
            content = before
        elif kind == "drop":
            content = before + after[length:]
        elif kind == "insert":
            content = before + bytes((number + i * place) % 256 for i in range(length)) + after
        elif kind == "repeat":
            content = before + after[:length] * (2 + number % 3) + after[length:]
    return content


KINDS = ("flip", "number", "digits", "cut", "drop", "insert", "repeat")

changes: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 127) | st.integers(0, 1 << 16), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)
"""Up to four, half of them among the first bytes, where headers are."""


@contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Inside, this process may ask for so many bytes beyond what it has; on Linux."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(statm.read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_or_told(read: Callable[[], object], memory: int = 1 << 30) -> bool:
    """Whether `read` reads; it may end in one line of ours instead, and in nothing else."""
    told: BaseException | None = None
    with bounded_memory(memory):
        try:
            read()
        except InputError as error:
            told = error
    assert "\n" not in str(told)
    cause = told
    while cause is not None:
        assert not isinstance(cause, MemoryError), f"asks for more than {memory} bytes: {told}"
        cause = cause.__cause__ or cause.__context__
    return told is None


@contextmanager
def one_process() -> Iterator[None]:
    """Inside, one process for each function reads all HDF5 files, so that thousands can be tried."""
    started: dict[tuple[str, str], Apart] = {}

    class Kept(Apart):
        def __exit__(self, *reason: object) -> None:
            pass

    def kept(module: str, function: str) -> Apart:
        return started.setdefault((module, function), Kept(module, function))

    with patch("a2sg.data.hdf5.Apart", kept):
        try:
            yield
        finally:
            for apart in started.values():
                apart.close()
