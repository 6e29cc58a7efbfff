"""Numbers that a device still computes, read once they are there: nobody waits for it."""

from __future__ import annotations

import torch
from torch import Tensor


class Later:
    """A tensor on its way to the CPU.

    Args:
        values: any tensor. From a CUDA device it is copied while the host goes on.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._values = values
        self._at_once = values.device.type == "cpu"
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def there(self) -> bool:
        """Whether reading it would wait for nothing."""
        return self._at_once if self._event is None else self._event.query()

    def read(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._values.cpu()
