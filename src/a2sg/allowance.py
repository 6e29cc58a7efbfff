"""What this process may use of the machine: its cores and its memory."""

from __future__ import annotations

import math
import os
from pathlib import Path

from a2sg.groups import cpu_quota, left_memory

MEMINFO = Path("/proc/meminfo")
SHARERS = "A2SG_SHARERS"
"""Environment variable: how many runs share the cores, set for runs that are trained side by side."""


def cores() -> int:
    """CPU cores that this process may use, at least 1.

    Fewer than the machine has where it is bound to some of them, and in a container or a job with a limit.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None or quota >= bound else max(1, math.ceil(quota))


def share_of_cores(processes: int = 1) -> int:
    """The cores for one of several processes that may use the same ones, at least 1.

    Args:
        processes: ranks of this run on this machine; other runs that were started beside it count as well.
    """
    allowed = cores()
    job = os.environ.get("SLURM_CPUS_ON_NODE", "")  # more than `allowed` if SLURM gave each rank its own
    whole = max(allowed, int(job)) if job.isdecimal() else allowed
    beside = os.environ.get(SHARERS, "")
    return max(1, min(allowed, whole // (processes * (int(beside) if beside.isdecimal() else 1))))


def free_memory() -> int | None:
    """Bytes of main memory that this process may still take; None if the system does not say.

    Limits of a container or a job count: a process that goes beyond them is killed.
    """
    return min((free for free in (_free_on_machine(), left_memory()) if free is not None), default=None)


def _free_on_machine() -> int | None:
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
