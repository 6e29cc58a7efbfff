"""What TorchInductor's kernels need, and their limits."""

from __future__ import annotations

import os
import shutil
from functools import cache

LARGEST = 2**31
"""Elements from which the 32-bit indices of a GPU's kernels no longer suffice."""

UNROLLED = 128
"""Maximum number of steps in a kernel. It unrolls them, so more take minutes to compile, then hours."""


def find_compiler() -> str | None:
    """Path of the C++ compiler; None if there is none."""
    names = (os.environ.get("CXX", "g++"), "g++", "clang++", "c++", "cl")
    return next((path for name in names if (path := shutil.which(name))), None)


@cache
def missing(device: str) -> str:
    """Why kernels cannot be compiled for a kind of device; "" if no reason is known."""
    if device == "cpu" and not find_compiler():
        return "no C++ compiler was found"
    if device not in ("cpu", "cuda"):
        return f"it is not known to work on {device}"
    return ""
