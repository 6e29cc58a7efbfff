"""What torch does about CUDA graphs, without a card: pools, streams and the generator of random numbers."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch


class Card:
    """Records nothing, but refuses what torch 2.6 on a card refuses.

    Attributes:
        capturing: whether a recording runs, or was broken off and none has succeeded since.
        replays: how many.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capturing = False
        self.replays = 0
        self._graphs: Counter[int] = Counter()
        self._broken: set[int] = set()
        pools = itertools.count(1)
        for name, stand_in in {
            "CUDAGraph": lambda: _Graph(self),
            "graph": self._graph,
            "graph_pool_handle": lambda: next(pools),
            "Stream": _Stream,
            "current_stream": _Stream,
            "stream": lambda _: contextlib.nullcontext(),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    @contextlib.contextmanager
    def _graph(self, graph: _Graph, *, pool: int, capture_error_mode: str) -> Iterator[None]:
        if pool in self._graphs and not self._graphs[pool]:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        if pool in self._broken:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        self.capturing = True
        try:
            yield
        except Exception:
            self._broken.add(pool)
            raise RuntimeError("operation failed due to a previous error during capture") from None
        self.capturing = False
        graph.pool = pool
        self._graphs[pool] += 1


class _Graph:
    def __init__(self, card: Card) -> None:
        self.card = card
        self.pool: int | None = None

    def replay(self) -> None:
        if self.card.capturing:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        self.card.replays += 1

    def __del__(self) -> None:
        if self.pool is not None:
            self.card._graphs[self.pool] -= 1


class _Stream:
    def __init__(self, *_: Any) -> None: ...

    def wait_stream(self, _: object) -> None: ...
