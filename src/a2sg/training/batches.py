"""The batches of a split: held on the device, or from a loader."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from a2sg.allowance import share_of_cores
from a2sg.data import ImageData
from a2sg.data.draws import Changes
from a2sg.data.feed import AHEAD, Batches, Feed
from a2sg.data.resident import ResidentBatches, held
from a2sg.data.sets import collate
from a2sg.data.shares import SharedBatches, Shares
from a2sg.data.standardize import Standardize
from a2sg.training.config import DataConfig, RunConfig
from a2sg.training.world import World


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
    """The batches of a split, ready for the network of a run.

    Args:
        config: the run.
        data: its data set.
        split: one of its splits.
        order: of all samples.
        device: of the network.
        shares: which samples belong to this rank.
        standardize: applied to pixels last.
        most_ahead: number of batches that may be prepared at once.
        changes: augmentation, if any.
        done: batches of the epoch to skip in the first pass, as `order` does.
        **options: further options of `Feed`.
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
    """The batches of a split according to `config`: on the device, or from a loader on the host.

    Args:
        config: batch size, loader, and whether the device holds the split.
        data: the split.
        sampler: its order, or the part of each batch that one rank reads.
        device: of the network.
        seed: of the run; a loader does not use the global random state.

    Raises:
        InputError: if the device should hold a split that is read sample by sample.
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
    """How many processes a loader has; `"auto"`: none if the CPU trains, and for a GPU all cores but one.

    Ranks, and runs that are trained side by side, share the cores.
    """
    if isinstance(workers, int):
        return workers
    if device.type == "cpu":
        return 0
    return max(1, share_of_cores(World.here().local_size) - 1)
