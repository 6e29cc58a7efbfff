"""Numbers that a device is still computing, read once they are ready: the host does not wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

WAITING = 100
"""How many parcels may be in flight at once; with more, the host waits for the first."""


class Parcel(Protocol[Value_co]):
    """A value that a device is still working on."""

    @property
    def there(self) -> bool:
        """Whether it can be read without waiting."""
        ...

    def read(self) -> Value_co:
        """The value; waits until the device has it."""
        ...


class Later:
    """A tensor on its way to the CPU.

    Args:
        values: any tensor. From a CUDA device it is copied while the host continues.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._values = values
        self._at_once = values.device.type == "cpu"
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(values.device))  # it need not be the current device

    @property
    def there(self) -> bool:
        """Whether it can be read without waiting."""
        return self._at_once if self._event is None else self._event.query()

    def read(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._values.cpu()


class Mail:
    """Parcels on their way to the host, and what to do with each when it arrives, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Parcel[Any], Callable[[Any], None]]] = deque()

    def send(self, parcel: Parcel[Value], told: Callable[[Value], None]) -> None:
        """Call `told` with the value of a parcel once it is there; the host does not wait for the device."""
        self._waiting.append((parcel, told))

    def deliver(self, *, wait: bool = False) -> None:
        """Handle the parcels that have arrived; with `wait`, all of them."""
        while self._waiting and (wait or len(self._waiting) > WAITING or self._waiting[0][0].there):
            parcel, told = self._waiting.popleft()
            told(parcel.read())

    def drop(self) -> None:
        """Drop all parcels, unread."""
        self._waiting.clear()
