"""The other end of `a2sg.data.apart`: reads files with one function of a library, in a separate process.

Run as a file, so that nothing else of the package is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np


def limit_memory(size: int) -> None:
    """Make this process fail if it allocates more than `size` bytes, on systems that support it."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def columns(read: Callable[[str], Any], path: str) -> bytes:
    """The result of a function for a file, a table with named columns, as `.npy` `[N, columns]` in int64."""
    events = read(path)
    table = np.stack([events[name].astype(np.int64) for name in events.dtype.names], axis=1)
    file = BytesIO()
    np.save(file, table, allow_pickle=False)
    return file.getvalue()


def parquet_size(path: str) -> np.ndarray:
    """The unpacked size of a parquet file: one row with its `rows` and `bytes`, all columns together."""
    from pyarrow.parquet import ParquetFile

    rows = size = 0
    with ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            rows += batch.num_rows
            size += batch.nbytes
    return np.array([(rows, size)], dtype=[("rows", np.int64), ("bytes", np.int64)])


def serve(module: str, function: str, memory: str) -> None:
    """Answer each path on standard input: one letter, the length of the content, and the content."""
    read = getattr(import_module(module), function)
    limit_memory(int(memory))
    for line in sys.stdin:
        try:
            kind, answer = b"A", columns(read, json.loads(line))
        except BaseException as error:  # includes panics of a library in Rust
            kind, answer = b"E", f"{type(error).__name__}: {error}".encode(errors="replace")
        sys.stdout.buffer.write(kind + len(answer).to_bytes(8) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
