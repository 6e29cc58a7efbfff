"""How a watcher sees a backward pass that the user's own `torch.compile` has traced.

A compiler cannot trace what the watcher does: sums and clocks. So the graph contains one operation that is
opaque to compilers and finds the watcher by its key.
"""

from __future__ import annotations

import itertools
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from a2sg.kernels import fills
from a2sg.kernels.drive import Gradients
from a2sg.kernels.watch import Steps, Watcher

_watchers: WeakValueDictionary[str, Watcher] = WeakValueDictionary()
_numbers = itertools.count()


def enlist(watcher: Watcher) -> str:
    """A key by which graphs find a watcher while it exists; text, since compilers make numbers symbolic."""
    key = str(next(_numbers))
    _watchers[key] = watcher
    return key


def show(watcher: Watcher, window: Tensor, steps: Steps, grads: Gradients) -> Gradients:
    """Show all steps of a backward pass; returns its gradients, so that the graph keeps the operation."""
    given = [grad for grad in grads if grad is not None]
    # Field by field: torch 2.6 does not trace a slice of a named tuple.
    shown = iter(_show(given, watcher.key, window, steps.potential, steps.upstream, steps.carry, steps.delta))
    return Gradients(*(None if grad is None else next(shown) for grad in grads))  # type: ignore[arg-type]


# The schema is written out: torch before 2.7 infers none from list[Tensor].
_SCHEMA = (
    "(Tensor[] grads, str key, Tensor window, Tensor potential, Tensor upstream, Tensor? carry, Tensor delta)"
    " -> Tensor[]"
)


@torch.library.custom_op("a2sg::show", mutates_args=(), schema=_SCHEMA)
def _show(
    grads: list[Tensor],
    key: str,
    window: Tensor,
    potential: Tensor,
    upstream: Tensor,
    carry: Tensor | None,
    delta: Tensor,
) -> list[Tensor]:
    watcher = _watchers[key]
    watcher.watch(watcher.current_gate, window, fills.uncompiled)(Steps(0, potential, upstream, carry, delta))
    return [grad.clone() for grad in grads]


@_show.register_fake
def _(grads: list[Tensor], *_: object) -> list[Tensor]:
    return [torch.empty_like(grad) for grad in grads]
