"""What would make the host wait for a GPU, found without one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ASKS = {
    aten._local_scalar_dense,  # .item(), float(tensor), if tensor, .tolist()
    aten.equal,
    aten.is_nonzero,
    # How large their result is, only the device knows.
    aten.nonzero,
    aten.masked_select,
    aten.bincount,
    aten.unique_dim,
    aten._unique2,
    aten.repeat_interleave,
    # A tensor made of numbers of the host: on a GPU a copy that is waited for.
    aten.lift_fresh,
}
"""Operations of which the host needs the result, or the device something of the host."""
NEAR = 6
"""So many frames of the stack tell who asked: an optimizer is further up than all that its step calls."""


class Waits(TorchDispatchMode):
    """Notes every operation that would make the host wait, and who asked for it.

    Args:
        excused: files that may; part of their path.

    Attributes:
        found: one line each.
    """

    def __init__(self, excused: Sequence[str] = ()) -> None:
        super().__init__()
        self.excused = excused
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        masked = func.overloadpacket is aten.index and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if func.overloadpacket in ASKS or masked:
            stack = reversed(traceback.extract_stack()[:-1])
            near = [f"{frame.filename}:{frame.lineno}" for frame in islice(stack, NEAR)]
            if not any(name in frame for name in self.excused for frame in near):
                self.found.append(f"{func} in {' < '.join(near)}")
        return func(*args, **(kwargs or {}))


class Watched(pl.Callback):
    """Runs ordinary iterations, everything between them included, in a context.

    Args:
        make: gives the context.
        first: the first iteration that is watched.
        last: the first one that is not, any more; the epoch has more.
    """

    def __init__(self, make: Callable[[], Any], first: int = 2, last: int = 6) -> None:
        self.make = make
        self.first, self.last = first, last
        self.done = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.first:
            self.context = self.make()
            self.context.__enter__()
        elif batch_idx == self.last:
            self.context.__exit__(None, None, None)
            self.done += 1
