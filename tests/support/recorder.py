"""Stand in for CUDA's graphs: what is recorded is done again, into the same tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Work = Callable[[], Sequence[Tensor]]


class CallingRecorder:
    """Calls the work again; counts what it records and replays, pass by pass; fails where it should."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.recorded = 0
        self.replayed = 0

    def prepare(self, work: Callable[[], object]) -> None:
        work()

    def record(self, work: Work) -> tuple[Sequence[Tensor], Callable[[], object]]:
        if self.error is not None:
            raise self.error
        self.recorded += 1
        found, again = self._record(work)

        def replay() -> None:
            self.replayed += 1
            with torch.no_grad():
                again()

        return found, replay

    def _record(self, work: Work) -> tuple[Sequence[Tensor], Callable[[], object]]:
        found = work()

        def again() -> None:
            for place, value in zip(found, work(), strict=True):
                place.copy_(value)

        return found, again


class RepeatingRecorder(CallingRecorder):
    """Repeats the operations alone, each into its old results: as with CUDA, no Python runs in a replay.

    For work in plain torch. Like CUDA, it refuses to read a value while it records.
    """

    def _record(self, work: Work) -> tuple[Sequence[Tensor], Callable[[], object]]:
        with _Tape() as tape:
            found = work()
        return found, tape.repeat


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    def repeat(self) -> None:
        for func, args, kwargs, found in self.calls:
            again = func(*args, **kwargs)
            for place, value in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                    place.copy_(value)
