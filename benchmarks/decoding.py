"""How fast images are decoded, cut out and scaled for training: per process, and by a loader with several.

    .venv/bin/python benchmarks/decoding.py FOLDER [--size 224] [--workers 0,1,2] [--seconds 10]

FOLDER has train/CLASS and val/CLASS, like ImageNet. What one core does is per second of processor time, so
that a busy machine does not count; loaders are timed by the clock, after what they read ahead.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from a2sg.data import create_data
from a2sg.data.sets import Draw, collate

BATCH = 32


class Endless(Sampler[Any]):
    """Every sample again and again, always another view of it."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(sample, epoch, 0) for epoch in itertools.count() for sample in range(self.samples))


def loaded(data: Any, workers: int, seconds: float) -> float:
    """Images per second."""
    loader: DataLoader[Any] = DataLoader(
        data, BATCH, sampler=Endless(len(data)), num_workers=workers, collate_fn=collate
    )
    batches = iter(loader)
    for _ in range(2 * workers + 1):  # what was read ahead does not count
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        count += len(next(batches)[0])
    return count / (time.perf_counter() - start)


def decoded(data: Any, seconds: float) -> float:
    """Images per second of processor time that are decoded, neither cut out nor scaled."""
    start, count = time.process_time(), 0
    while time.process_time() < start + seconds:
        data.images.picture(count % len(data))
        count += 1
    return count / (time.process_time() - start)


def viewed(data: Any, seconds: float) -> float:
    """Images per second of processor time, all done."""
    draws = iter(Endless(len(data)))
    start, count = time.process_time(), 0
    while time.process_time() < start + seconds:
        data[next(draws)]
        count += 1
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data: Any = create_data("imagenet", source=options.folder, image_size=options.size).train
    sizes = [data.images.picture(at).size for at in range(min(len(data), 100))]
    width, height = (sum(side) / len(sizes) for side in zip(*sizes, strict=True))
    print(f"{len(data)} images of {width:.0f}x{height:.0f} on average, {os.cpu_count()} cores\n")
    print("| way | images/s |\n|---|---|")
    print(f"| decoding alone, per second of one core | {decoded(data, options.seconds):.0f} |")
    print(f"| decoded, cut out, scaled, per second of one core | {viewed(data, options.seconds):.0f} |")
    for workers in map(int, options.workers.split(",")):
        print(f"| loader with {workers} workers | {loaded(data, workers, options.seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
