"""Data sets that lie on the training device whole: no loader, no copy from the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from a2sg.data.draws import sent
from a2sg.data.sets import Held
from a2sg.errors import InputError

SHARE = 0.25
"""Of a GPU's free memory a split may take so much by itself: the rest is for training."""

Resident = bool | Literal["auto"]


class ResidentBatches:
    """Batches of a data set on a device, in the order of a sampler: what a loader gives, without a loader.

    Args:
        data: the samples; they are copied to the device at once.
        sampler: gives their numbers, again for each pass.
        batch_size: samples of a batch; the last one has what is left. None: the sampler gives whole batches.
        device: where they shall lie.
    """

    def __init__(
        self, data: Held, sampler: Sampler[Any], batch_size: int | None, device: torch.device
    ) -> None:
        self.data = data.on(device)
        self.sampler = sampler
        self.batch_size = batch_size
        self.device = device

    def __len__(self) -> int:
        return -(-len(self.sampler) // (self.batch_size or 1))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.batch_size is None:
            return (self.data.batch(sent(torch.tensor(batch), self.device)) for batch in self.sampler)
        order = sent(torch.tensor(list(self.sampler)), self.device)
        return map(self.data.batch, order.split(self.batch_size))


def held(data: Dataset[object], wish: Resident, device: torch.device) -> Held | None:
    """The data set, if it shall lie on the device; else None.

    Args:
        data: any.
        wish: true or false, or `"auto"`: where it takes no more than `SHARE` of a GPU's free memory. On a CPU
            that is so for samples that are in memory already.
        device: where the network is.

    Raises:
        InputError: if it shall, but is read sample by sample.
    """
    if not isinstance(data, Held):
        if wish is True:
            raise InputError(
                f"data.resident is true, but {type(data).__name__} reads samples one by one: leave it at auto"
            )
        return None
    fits = data.in_memory
    if device.type == "cuda":
        fits = data.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]
    return data if (fits if wish == "auto" else wish) else None
