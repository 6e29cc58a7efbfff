"""The ranks of a distributed run, and how they communicate; a single process is rank 0 of 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from a2sg.errors import InputError

T = TypeVar("T")

__all__ = [
    "Lost",
    "Vote",
    "add_up",
    "by_first",
    "distributed",
    "from_first",
    "gathered",
    "idles",
    "idling",
    "leaders_first",
    "of_first",
    "rank",
    "rank_count",
]


class Lost(Exception):
    """A rank no longer hears from another one, which has ended or hangs."""


def distributed() -> bool:
    """Whether this process is one of several ranks that are connected (`torch.distributed`)."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process among the ranks; 0 if it is alone."""
    return dist.get_rank() if distributed() else 0


def rank_count() -> int:
    """How many ranks there are, at least 1."""
    return dist.get_world_size() if distributed() else 1


_idle = False


@contextmanager
def idling() -> Iterator[None]:
    """A context in which this rank has no samples: what it computes to keep in step does not count."""
    global _idle
    before, _idle = _idle, True
    try:
        yield
    finally:
        _idle = before


def idles() -> bool:
    """Whether this rank is within `idling`."""
    return _idle


def add_up(numbers: Tensor) -> Tensor:
    """Add up `numbers` over the ranks, in place; all get exactly the same sums."""
    if distributed():
        dist.all_reduce(numbers)
    return numbers


def from_first(numbers: Tensor) -> Tensor:
    """Replace `numbers` by those of rank 0, on every rank."""
    if distributed():
        dist.broadcast(numbers, src=0)
    return numbers


def of_first(value: T) -> T:
    """The value that rank 0 has; those of other ranks are ignored."""
    if not distributed():
        return value
    box: list[Any] = [value if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    found: T = box[0]
    return found


def gathered(value: T) -> list[T]:
    """The values of all ranks, in rank order."""
    if not distributed():
        return [value]
    found: list[Any] = [None] * rank_count()
    dist.all_gather_object(found, value)
    return found


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns on rank 0, the only rank that runs it.

    Raises:
        InputError: on every rank, if rank 0 raises it.
    """
    result, error = _attempt(work) if rank() == 0 else (None, None)
    result, error = of_first((result, error))
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def leaders_first(work: Callable[[], T], leads: bool) -> T:
    """What `work` returns on this rank; ranks that lead run it before the others.

    For work that leaves something on a disk for the others to find, such as a download.

    Raises:
        InputError: on every rank, if one that leads raises it.
    """
    result, error = _attempt(work) if leads else (None, None)
    for found in gathered(error):
        if found is not None:
            raise found
    return result if leads else work()  # type: ignore[return-value]


def _attempt(work: Callable[[], T]) -> tuple[T | None, InputError | None]:
    try:
        return work(), None
    except InputError as error:
        return None, error


class Vote:
    """What all ranks agree on without waiting for each other: the largest number that any of them gave.

    It is called again and again. On several ranks, each call returns the answer to the call before, which was
    exchanged in the meantime.
    """

    def __init__(self) -> None:
        self._sent: tuple[Tensor, Any] | None = None

    def __call__(self, number: int) -> int:
        """Give a number of at least 0, and take the largest."""
        if not distributed():
            return number
        before = self._sent
        largest = torch.tensor(number)
        self._sent = largest, dist.all_reduce(largest, dist.ReduceOp.MAX, async_op=True)
        if before is None:
            return 0
        answer, arriving = before
        arriving.wait()
        return int(answer)
