"""Whether values are spikes: whole multiples of one number."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def common_quantum(values: Tensor, quantum: float = math.inf) -> float:
    """The largest number of which |values| and `quantum` are whole multiples, up to a 20th of it.

    Euclid's algorithm on near-integers, over all values at once.

    Returns:
        The quantum; infinity if all values are 0; 0 if there is none of which the largest value is at
        most 4,096 multiples: the values are real numbers.
    """
    sizes = values.abs().flatten().to(torch.promote_types(values.dtype, torch.float32))
    sizes = sizes[sizes > 0]
    if sizes.numel() == 0 or quantum == 0:
        return quantum
    if math.isfinite(quantum):
        sizes = torch.cat([sizes, sizes.new_tensor([quantum])])
    quantum, largest = sizes.min().item(), sizes.max().item()
    while largest <= 4096 * quantum:
        multiples = sizes / quantum
        rest = (multiples - multiples.round()).abs()
        rest = rest[rest > 0.05]
        if rest.numel() == 0:
            return quantum
        quantum *= rest.min().item()
    return 0.0
