"""Intercepts every call of an `autograd.Function`, whatever name it is called by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.autograd import Function
from torch.autograd.function import _SingleLevelFunction

Handler = Callable[[type[Function], tuple[Any, ...], Callable[..., Any]], Any]
"""Is given the function, its arguments, and what applies it to arguments; returns what the call gives."""

_lock = threading.Lock()
_listening = 0
_here = threading.local()


@contextmanager
def intercepting(handler: Handler) -> Iterator[None]:
    """Send every `Function.apply` of this thread through `handler`; of nested ones, only the innermost.

    An alias (`act = Fire.apply`) is bound to `Function.apply` itself, and a class may be created again in
    every forward: neither can be replaced. But all of them end in `super().apply`, so a base class gets an
    `apply` while there is a handler. Without one, torch is unchanged.
    """
    global _listening
    handlers = _here.__dict__.setdefault("handlers", [])
    with _lock:
        _listening += 1
        if _listening == 1:
            _SingleLevelFunction.apply = classmethod(_apply)  # type: ignore[attr-defined]
    handlers.append(handler)
    try:
        yield
    finally:
        handlers.pop()
        with _lock:
            _listening -= 1
            if _listening == 0:
                del _SingleLevelFunction.apply  # type: ignore[attr-defined]


def _apply(function: type[Function], *args: Any, **named: Any) -> Any:
    apply = super(_SingleLevelFunction, function).apply  # type: ignore[misc]
    handlers = _here.__dict__.get("handlers")
    if not handlers or named:
        return apply(*args, **named)
    return handlers[-1](function, args, apply)


def name_of(function: type[Function]) -> str:
    """A key that stays the same for a function that is created again in every forward."""
    return f"{function.__module__}.{function.__qualname__}"
