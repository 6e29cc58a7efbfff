"""The other end of `a2sg.data.apart`: reads files with one function of a library, in a separate process.

Run as a file, so that nothing else of the package is imported.
"""

from __future__ import annotations

import json
import runpy
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


def packed(array: np.ndarray) -> bytes:
    """An array as `.npy`; a table with named columns becomes `[N, columns]` in int64."""
    if array.dtype.names:
        array = np.stack([array[name].astype(np.int64) for name in array.dtype.names], axis=1)
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def found(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that can be imported, or of a file."""
    read: Callable[..., Any]
    read = (
        runpy.run_path(module)[function]
        if module.endswith(".py")
        else getattr(import_module(module), function)
    )
    return read


def serve(module: str, function: str, memory: str) -> None:
    """Answer each line on standard input, the arguments of the function.

    An answer is one letter, the number of its parts, and for each its length and its content.
    """
    read = found(module, function)
    limit_memory(int(memory))
    for line in sys.stdin:
        try:
            arrays = read(*json.loads(line))
            kind, parts = b"A", [packed(one) for one in (arrays if isinstance(arrays, list) else [arrays])]
        except BaseException as error:  # includes panics of a library in Rust
            kind, parts = b"E", [f"{type(error).__name__}: {error}".encode(errors="replace")]
        sys.stdout.buffer.write(kind + len(parts).to_bytes(8))
        for part in parts:
            sys.stdout.buffer.write(len(part).to_bytes(8) + part)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
