"""The batches of a split: on the device as a whole, or from a loader."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from a2sg.data import ImageData
from a2sg.data.draws import Changes
from a2sg.data.feed import AHEAD, Batches, Feed
from a2sg.data.resident import ResidentBatches, held
from a2sg.data.sets import collate
from a2sg.data.shares import SharedBatches, Shares
from a2sg.data.standardize import Standardize
from a2sg.training.config import DataConfig, RunConfig


def build_feed(
    config: RunConfig,
    data: ImageData,
    split: Any,
    order: Sampler[Any],
    device: torch.device,
    *,
    shares: Shares,
    standardize: Standardize,
    most_ahead: int,
    changes: Changes | None = None,
    done: int = 0,
    **options: Any,
) -> Feed:
    """The batches of a split as the network of a run takes them.

    Args:
        config: the run.
        data: its data set.
        split: one of its splits.
        order: of all samples.
        device: where the network is.
        shares: which of them are this rank's.
        standardize: the last thing that is done to pixels.
        most_ahead: so many batches are prepared at once, at most.
        changes: augmentation, if there is any.
        done: batches of the epoch that the first pass leaves out, as `order` does.
        **options: further ones of `Feed`.
    """
    shared = SharedBatches(order, shares, changes, done) if shares.ranks > 1 else None
    batches = build_batches(config.data, split, shared or order, device, config.seed)
    samples = max(1, config.data.batch_size // shares.ranks)
    pixels = samples * math.prod(data.shape) * (data.steps or 1)
    return Feed(
        batches=batches,
        device=device,
        standardize=standardize,
        recordings=data.steps is not None,
        ahead=min(most_ahead, max(1, AHEAD // pixels)) if isinstance(batches, ResidentBatches) else 1,
        changes=changes,
        done=done,
        shared=shared,
        **options,
    )


def build_batches(
    config: DataConfig, data: Any, sampler: Sampler[Any], device: torch.device, seed: int
) -> Batches:
    """The batches of a split as `config` says, on the device or, from a loader, on the host.

    Args:
        config: batch size, loader, and whether the device holds the split.
        data: the split.
        sampler: its order, or the part of each batch that one rank reads.
        device: where the network is.
        seed: of the run; a loader draws nothing from the global random state.

    Raises:
        InputError: if the device shall hold a split that is read sample by sample.
    """
    whole = isinstance(sampler, SharedBatches)
    if config.workers in ("auto", 0):
        here = held(data, config.resident, device)
        if here is not None:
            return ResidentBatches(here, sampler, None if whole else config.batch_size, device)
    workers = count_workers(config.workers, device)
    order: dict[str, Any] = {"batch_size": config.batch_size, "sampler": sampler}
    return DataLoader(
        data,
        **({"batch_sampler": sampler} if whole else order),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
    )


def count_workers(workers: int | str, device: torch.device) -> int:
    """How many processes a loader has; `"auto"`: all cores but one for a GPU, none where the CPU trains."""
    if isinstance(workers, int):
        return workers
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)
