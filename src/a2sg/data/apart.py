"""A library's reader in a separate process: a crash, or a request for all memory, ends only that process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Timer
from types import TracebackType

import numpy as np

from a2sg.data import apart_child
from a2sg.data.untrusted import FILE, numbers, size
from a2sg.errors import InputError, one_line, require

MEMORY = 4 << 30
"""Bytes that the process may allocate."""
PATIENCE = 60.0
"""Seconds for a file."""


class Apart:
    """Reads files with a library's function that is not safe for untrusted files.

    The process starts with the first file, and ends with the context.

    Args:
        module: of the function.
        function: takes a path and returns a structured array.
        memory: bytes that the process may allocate, if the system can limit that.
        patience: seconds for a file.
    """

    def __init__(self, module: str, function: str, memory: int = MEMORY, patience: float = PATIENCE) -> None:
        self.words = [sys.executable, "-P", apart_child.__file__, module, function, str(memory)]
        self.patience = patience
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def read(self, path: Path) -> np.ndarray:
        """The columns `[N, columns]` of a file, int64.

        Raises:
            InputError: if the function fails, ends its process, or takes too long.
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
            kind, answer = self._asked(self.process, path)
        finally:
            timer.cancel()
        require(kind == b"A", f"its reader fails ({one_line(answer.decode(errors='replace'))})")
        return numbers(answer, "what its reader gives")

    def _asked(self, process: subprocess.Popen[bytes], path: Path) -> tuple[bytes, bytes]:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            process.stdin.flush()
            kind, length = process.stdout.read(1), int.from_bytes(process.stdout.read(8))
            require(length <= FILE, f"its reader gives {size(length)}")
            answer = process.stdout.read(length)
        except BrokenPipeError:
            kind = b""
        if not kind or len(answer) < length:
            self.__exit__(None, None, None)
            raise InputError(
                f"it ends the process that reads it, asks for more than {size(MEMORY)} of memory, or takes "
                f"longer than {self.patience:g} s"
            )
        return kind, answer
