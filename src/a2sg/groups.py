"""Limits of a container or of a job on a cluster: the control groups of Linux, of both versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

# By version: files with the limit and what is used, and the line of memory.stat with pages of files.
_MEMORY = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ("memory.max", "memory.current", "inactive_file"),
)
_CPU = (("cpu.cfs_quota_us", "cpu.cfs_period_us"), ("cpu.max",))  # files with quota and period


def left_memory() -> int | None:
    """Bytes that this process may still take before a group of it is full; None without a limit.

    Pages of files are given up before that, so they do not count as used.
    """
    return min(
        (
            max(0, limit - used + cached)
            for group in _groups("memory")
            for *files, line in _MEMORY
            for limit, used in _numbers(group, files)
            for cached in _cached(group, line)
        ),
        default=None,
    )


def cpu_quota() -> float | None:
    """Seconds of CPU time that this process may use in a second; None without a limit."""
    limits = (each for group in _groups("cpu") for files in _CPU for each in _numbers(group, files))
    return min((quota / period for quota, period in limits if quota > 0 and period > 0), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Every group of this process that may limit it, and those above: a job is often limited by its parent.

    A container may see its own group as the root, under a path that only its host knows: some do not exist.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            root = MOUNTED if number == "0" else MOUNTED / controller
            group = root / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if root in (folder, *folder.parents))


def _numbers(group: Path, files: tuple[str, ...] | list[str]) -> Iterator[tuple[int, int]]:
    """The two numbers in these files; nothing if there are none, or "max"."""
    try:
        first, second = (int(word) for name in files for word in (group / name).read_text("ascii").split())
    except (OSError, ValueError):
        return
    yield first, second


def _cached(group: Path, line: str) -> Iterator[int]:
    try:
        stat = dict(
            text.split(maxsplit=1) for text in (group / "memory.stat").read_text("ascii").splitlines()
        )
        yield int(stat.get(line, 0))
    except (OSError, ValueError):
        yield 0
