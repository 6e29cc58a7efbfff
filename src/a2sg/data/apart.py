"""A library's reader in a separate process: a crash, or a request for all memory, ends only that process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import IO

import numpy as np

from a2sg.data import apart_child
from a2sg.data.untrusted import FILE, numbers, size
from a2sg.errors import LONGEST, InputError, one_line, require

MEMORY = 4 << 30
"""Bytes that the process may allocate."""
PATIENCE = 60.0
"""Seconds for a file."""


class Apart:
    """Reads files with a library's function that is not safe for untrusted files.

    The process starts with the first file, and ends with the context.

    Args:
        module: of the function: its name, or its file.
        function: takes a path, and returns an array or a list of arrays.
        memory: bytes that the process may allocate, if the system can limit that.
        patience: seconds for a file.
    """

    def __init__(self, module: str, function: str, memory: int = MEMORY, patience: float = PATIENCE) -> None:
        self.words = [sys.executable, "-P", apart_child.__file__, module, function, str(memory)]
        self.patience = patience
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; the next file starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def read(self, path: Path) -> np.ndarray:
        """The one array that the function returns; the columns of a table are `[N, columns]`, int64.

        Raises:
            InputError: if the function fails, ends its process, or takes too long.
        """
        (array,) = self.read_all(path)
        return array

    def read_all(self, path: Path, *arguments: object) -> list[np.ndarray]:
        """All arrays that the function returns.

        Args:
            path: of the file.
            *arguments: further ones of the function, as JSON can write them.

        Raises:
            InputError: see `read`.
        """
        if self.process is None:
            places = os.pathsep.join(filter(None, sys.path))
            self.process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # some libraries print long messages when they crash
                env={**os.environ, "PYTHONPATH": places},
            )
        timer = Timer(self.patience, self.process.kill)
        timer.start()
        try:
            kind, parts = self._asked(self.process, (str(path), *arguments))
        except BaseException:
            self.close()  # so that the rest of this answer is not read as the next one
            raise
        finally:
            timer.cancel()
        if kind != b"A":
            said = one_line(b"".join(parts).decode(errors="replace"))
            raise InputError(f"its reader fails ({said[:LONGEST]})")
        return [numbers(part, "what its reader gives") for part in parts]

    def _asked(self, process: subprocess.Popen[bytes], words: Sequence[object]) -> tuple[bytes, list[bytes]]:
        """The kind and the parts of an answer."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(words).encode() + b"\n")
            process.stdin.flush()
            kind = self._some(process.stdout, 1)
            count, left = int.from_bytes(self._some(process.stdout, 8)), FILE
            parts = []
            for _ in range(count):
                length = int.from_bytes(self._some(process.stdout, 8))
                left -= length
                require(left >= 0, f"its reader gives more than {size(FILE)}")
                parts.append(self._some(process.stdout, length))
        except BrokenPipeError:
            raise self._ended() from None
        return kind, parts

    def _some(self, stream: IO[bytes], count: int) -> bytes:
        content = stream.read(count)
        if len(content) < count:
            raise self._ended()
        return content

    def _ended(self) -> InputError:
        return InputError(
            f"it ends the process that reads it, asks for more than {size(MEMORY)} of memory, or takes "
            f"longer than {self.patience:g} s"
        )
