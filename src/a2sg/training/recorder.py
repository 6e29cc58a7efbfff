"""Records work on a GPU as CUDA graphs, and in which memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

OBSERVED = 1.2
"""Memory of an observed step, relative to an ordinary one, at most; an H100 showed 1.13 for ResNet19."""


class Recorder(Protocol):
    """Records work on a device."""

    def prepare(self, work: Callable[[], object]) -> None:
        """Run `work` once, unrecorded, under the conditions in which it will be recorded."""
        ...

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], object]]:
        """Record `work`; returns its result, and a function that repeats it into the same tensors."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share their memory.

    Sharing is safe as long as no graph is replayed between the forward and the backward pass of another one:
    nothing that a graph leaves in this memory is read after its backward pass, since outputs are cloned and
    gradients are copied out.

    Args:
        spare: whether to record only if steps without a graph, which need memory of their own, still find it.
    """

    def __init__(self, *, spare: bool = False) -> None:
        self.spare = spare
        self._begin_anew()

    def prepare(self, work: Callable[[], object]) -> None:
        if self.spare:
            _require_memory_twice()
            self.spare = False  # later ones share the memory of the first
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        torch.cuda.current_stream().wait_stream(aside)

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], object]]:
        cause: BaseException | None = None
        graph = torch.cuda.CUDAGraph()
        try:
            with self._recording(graph):
                try:
                    found = work()
                except BaseException as error:
                    cause = error
                    raise
        except BaseException as error:
            self._begin_anew()
            # The end of a recording that was broken off says only that it was.
            raise cause or error from None
        return found, graph.replay

    def _begin_anew(self) -> None:
        """Take a new pool, and keep it with an empty graph.

        torch lets no graph into a pool whose last graph is gone, or in which a recording was broken off. Some
        versions give no random numbers, and replay nothing, from such a recording until the next good one.
        """
        self.pool = torch.cuda.graph_pool_handle()
        self._first = torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that the graph is empty
            with self._recording(self._first):
                pass

    @contextlib.contextmanager
    def _recording(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        # The outer context puts the stream back if recording fails; threads that pin memory may go on.
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"),
        ):
            yield


def _require_memory_twice() -> None:
    """Raise `MemoryError` if the largest step so far does not fit twice: in a graph, and beside it.

    What a graph needs stays reserved. Steps of other kinds, an observed one or a smaller last batch, need
    memory of their own.
    """
    held, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    step = torch.cuda.max_memory_allocated() - held
    free = torch.cuda.mem_get_info()[0] + reserved - held
    if (1 + OBSERVED) * step > free:
        raise MemoryError(
            f"a graph keeps the {step / 2**30:.1f} GB of a step, and other steps need as much again, but "
            f"{free / 2**30:.1f} GB are free; graphs: on records all the same"
        )
