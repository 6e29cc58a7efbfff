"""Intercepts every call of an `autograd.Function`, whatever name it is called by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ClassMethodDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionMeta, _SingleLevelFunction

Handler = Callable[[type[Function], tuple[Any, ...], Callable[..., Any]], Any]
"""Is given the function, its arguments, and what applies it to arguments; returns what the call gives."""

NATIVE = isinstance(vars(Function).get("apply"), ClassMethodDescriptorType)
"""Whether `Function.apply` is C code, as from torch 2.14 on."""
UNSET = _SingleLevelFunction.setup_context
"""The `setup_context` of a function that has none: its `forward` takes the context."""

_lock = threading.Lock()
_listening = 0
_here = threading.local()


@contextmanager
def intercepting(handler: Handler) -> Iterator[None]:
    """Send every `Function.apply` of this thread through `handler`; of nested ones, only the innermost.

    An alias (`act = Fire.apply`) is bound to `Function.apply` itself, and a class may be created again in
    every forward: neither can be replaced. But before torch 2.14 all of them end in `super().apply`, so a
    base class gets an `apply` while there is a handler. From 2.14 on, C code looks up the class's `forward`,
    so the metaclass sees to that. The handler is then called within the function, when its result is known:
    it must return that result, and may change how it is differentiated (`node`). Without a handler, torch is
    unchanged.
    """
    global _listening
    handlers = _here.__dict__.setdefault("handlers", [])
    with _lock:
        _listening += 1
        if _listening == 1:
            setattr(*HOOK)
    handlers.append(handler)
    try:
        yield
    finally:
        handlers.pop()
        with _lock:
            _listening -= 1
            if _listening == 0:
                delattr(*HOOK[:2])


def node() -> Any:
    """The node of the graph that a handler is within, whose context it is; None before torch 2.14."""
    return None if torch.compiler.is_compiling() else _here.__dict__.get("node")


def when_reached(result: Tensor, call: Callable[[], None]) -> None:
    """Call `call` when a gradient comes back to the result of the call that a handler sees."""
    here = node()
    if here is not None:
        here.register_prehook(lambda _: call())
    elif result.requires_grad:
        result.register_hook(lambda _: call())


def _apply(function: type[Function], *args: Any, **named: Any) -> Any:
    apply = super(_SingleLevelFunction, function).apply  # type: ignore[misc]
    handlers = _here.__dict__.get("handlers")
    if not handlers or named:
        return apply(*args, **named)
    return handlers[-1](function, args, apply)


def _look_up(function: type[Function], name: str) -> Any:
    """An attribute of a function; what C code calls is replaced."""
    found = type.__getattribute__(function, name)
    if name not in ("_backward_cls", "forward", "setup_context") or not _here.__dict__.get("handlers"):
        return found
    if name == "_backward_cls":  # the last time that gradients are on or off as they are for the caller
        _here.enabled = torch.is_grad_enabled()
        return found
    apart = type.__getattribute__(function, "setup_context") is not UNSET
    if name == "forward":
        enabled = _here.__dict__.get("enabled", False)
        return (
            partial(_forward_apart, found, enabled) if apart else partial(_forward, function, found, enabled)
        )
    return partial(_set_up, function, found) if apart else found


def _forward(
    function: type[Function], forward: Callable[..., Any], enabled: bool, *args: Any, **named: Any
) -> Any:
    result = forward(*args, **named)
    if not named and args:
        _show(function, args[0], args[1:], result, enabled)
    return result


def _forward_apart(forward: Callable[..., Any], enabled: bool, *args: Any, **named: Any) -> Any:
    try:
        return forward(*args, **named)
    finally:
        # For `_set_up`, which follows: other functions may have been called in between.
        _here.enabled = enabled


def _set_up(function: type[Function], set_up: Callable[..., Any], ctx: Any, inputs: Any, output: Any) -> None:
    set_up(ctx, inputs, output)
    _show(function, ctx, inputs, output, _here.__dict__.get("enabled", False))


def _show(function: type[Function], ctx: Any, args: tuple[Any, ...], result: Any, enabled: bool) -> None:
    """Call the handler, unless another function has called this one's `forward`."""
    if getattr(ctx, "_forward_cls", None) is not function:
        return
    outer, _here.node = _here.__dict__.get("node"), ctx
    try:
        with torch.set_grad_enabled(enabled):
            _here.handlers[-1](function, args, lambda *_: result)
    finally:
        _here.node = outer


HOOK: tuple[type, str, Any] = (
    (FunctionMeta, "__getattribute__", _look_up)
    if NATIVE
    else (_SingleLevelFunction, "apply", classmethod(_apply))
)
"""What a class of torch has while there is a handler: the class, the name and the value."""


def name_of(function: type[Function]) -> str:
    """A key that stays the same for a function that is created again in every forward."""
    return f"{function.__module__}.{function.__qualname__}"
