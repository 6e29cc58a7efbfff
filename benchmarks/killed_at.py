"""Shows from outside what a training process is doing: `a2sg train ... --import killed_at`, for kills.py.

The file named by A2SG_KILLED_AT holds one byte that the process maps, so it stays as it was at a `kill -9`.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

from a2sg.training import checkpoints
from a2sg.window.policy import WindowPolicy

VARIABLE = "A2SG_KILLED_AT"
WRITING, OBSERVED, OTHER = b"w", b"o", b"."
MOMENTS = {WRITING: "writing a checkpoint", OBSERVED: "in an observed iteration", OTHER: "elsewhere"}


def mapped(path: Path) -> mmap.mmap:
    """The byte in a file that exists."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 1)


def show(byte: mmap.mmap) -> None:
    """Have the byte say what this process does from now on."""
    write, step = checkpoints.write_checkpoint, WindowPolicy.step

    def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
        before = byte[:1]
        byte[:1] = WRITING
        write(checkpoint, path)
        byte[:1] = before

    def end_iteration(policy: WindowPolicy, *args: Any) -> bool:
        done = step(policy, *args)
        byte[:1] = OBSERVED if policy.observing else OTHER
        return done

    checkpoints.write_checkpoint = write_checkpoint
    WindowPolicy.step = end_iteration  # type: ignore[method-assign, assignment]


if VARIABLE in os.environ:
    show(mapped(Path(os.environ[VARIABLE])))
