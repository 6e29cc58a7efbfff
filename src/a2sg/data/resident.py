"""Data sets held entirely on the training device, without a loader and without copies from the host."""

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
"""Share of a GPU's free memory that `auto` lets a split take; the rest is for training."""

Resident = bool | Literal["auto"]


class ResidentBatches:
    """Batches of a data set on a device, in the order of a sampler: the same batches as a loader gives.

    Args:
        data: the samples; they are copied to the device immediately.
        sampler: yields their indices, again for each pass.
        batch_size: samples per batch; the last one has the rest. None: the sampler yields whole batches.
        device: to hold them on.
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
    """The data set if the device should hold it, else None.

    Args:
        data: any data set.
        wish: true or false, or `"auto"`: if it takes no more than `SHARE` of a GPU's free memory; on a CPU,
            if the samples are in memory already.
        device: of the network.

    Raises:
        InputError: if the device should hold a data set that is read sample by sample.
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
