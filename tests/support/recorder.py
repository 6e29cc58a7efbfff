"""Stands in for CUDA's graphs: what is recorded is called again, into the same tensors."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Work = Callable[[], Sequence[Tensor]]


class CallingRecorder:
    """Counts what it records and replays, pass by pass; fails where it should."""

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
        found = work()

        def replay() -> None:
            self.replayed += 1
            with torch.no_grad():
                for place, value in zip(found, work(), strict=True):
                    place.copy_(value)

        return found, replay
