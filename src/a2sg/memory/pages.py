"""`keep_pages`: freed memory stays with the process instead of going back to the system."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt."""

LARGEST = 2**31 - 1


def keep_pages() -> bool:
    """Tell the C library to keep freed memory for the next tensor.

    By default glibc returns every block above 32 MiB to the system as soon as it is freed. The next such
    tensor gets fresh pages, each of which the system has to map and clear: for a large layer that takes
    longer than the neuron itself (docs/memory.md). On a CPU, call this once, before training; `a2sg train`
    does.

    The process then holds on to the most memory it has ever used, and somewhat more, because large blocks
    share one heap. This cannot be undone. If another allocator is preloaded (jemalloc, tcmalloc), nothing
    changes.

    Returns:
        Whether the C library accepted this: False where it is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
