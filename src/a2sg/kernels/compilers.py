"""What TorchInductor's kernels need, and how far they reach."""

from __future__ import annotations

import os
import shutil
from functools import cache

LARGEST = 2**31
"""Elements from which on the 32-bit indices of a GPU's kernels do not reach."""

UNROLLED = 128
"""Steps up to which a kernel is made. It holds each of them, so more take minutes to compile, then hours."""


def find_compiler() -> str | None:
    """Path of the C++ compiler; None if there is none."""
    names = (os.environ.get("CXX", "g++"), "g++", "clang++", "c++", "cl")
    return next((path for name in names if (path := shutil.which(name))), None)


@cache
def missing(device: str) -> str:
    """What keeps kernels from being compiled for a kind of device; "" if nothing is known to."""
    if device == "cpu" and not find_compiler():
        return "no C++ compiler was found"
    if device not in ("cpu", "cuda"):
        return f"it is not known to work on {device}"
    return ""
