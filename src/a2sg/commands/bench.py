"""`a2sg bench`: speed and memory."""

from __future__ import annotations


def bench_command(words: list[str]) -> int:
    """Measure speed and memory, against other libraries where they are installed."""
    from a2sg.bench.command import bench_command as bench

    return bench(words)
