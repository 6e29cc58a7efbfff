"""A pure function of tensors as one kernel: TorchInductor without the rest of `torch.compile`.

`torch.compile` checks its guards and wraps its inputs at every call, 25 µs and more: half the time of a small
layer. Here the caller says which sizes may change, so there is nothing to check.
"""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int | str, ...]
"""Sizes; a name stands for a size that may change from call to call."""

USUAL = 2**20
"""Elements for which kernels are laid out: work for every core, and within reach of 32-bit indices."""

_one_at_a_time = threading.Lock()


class FusionError(Exception):
    """A function could not be compiled."""


def fuse(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[tuple[Shape, torch.dtype]],
    device: torch.device,
) -> Callable[..., list[Tensor]]:
    """Compile `function` for contiguous inputs of given shapes.

    Args:
        function: from tensors to tensors: pure, without control flow on values. Numbers that it closes over
            become constants.
        inputs: shape and dtype of each argument.
        device: where they lie.

    Returns:
        A function of the values of the named sizes, in the order of their first appearance, and then of the
        tensors. Inputs are not checked. It records no gradients.

    Raises:
        FusionError: if it cannot be compiled, for whatever reason.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler warns of is nothing that a user could mend
        try:
            return _fuse(function, inputs, device)
        except Exception as error:
            raise FusionError(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}") from error


def _fuse(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[tuple[Shape, torch.dtype]],
    device: torch.device,
) -> Callable[..., list[Tensor]]:
    # These take a second or two to import.
    from torch._dynamo.source import ConstantSource
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

    names = list(dict.fromkeys(size for shape, _ in inputs for size in shape if isinstance(size, str)))
    shapes = ShapeEnv()
    symbols: dict[int | str, Any] = {}
    for name, hint in zip(names, _hints(names, inputs), strict=True):
        symbol = shapes.create_symbol(
            hint, source=ConstantSource(f"size_{name}"), dynamic_dim=DimDynamic.DYNAMIC, constraint_dim=None
        )
        symbols[name] = shapes.create_symintnode(symbol, hint=hint)
    mode = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    with mode:
        fakes = [
            torch.empty([symbols.get(size, size) for size in shape], dtype=dtype, device=device)
            for shape, dtype in inputs
        ]

    def traced(*arguments: Any) -> tuple[Tensor, ...]:
        return tuple(function(*arguments[len(names) :]))

    with _alone(), mode, tracing(TracingContext(mode)):
        sizes = [symbols[name] for name in names]
        trace = make_fx(traced, decomposition_table=select_decomp_table(), _allow_non_fake_inputs=True)
        graph = trace(*sizes, *fakes)
        compiled: Any = compile_fx_inner(graph, [*sizes, *fakes])

    # Around the bare kernel there are only hooks for profilers.
    bare = getattr(compiled, "current_callable", None) or compiled

    def call(*arguments: Any) -> list[Tensor]:
        result: list[Tensor] = bare(list(arguments))
        return result

    return call


def _hints(names: Sequence[str], inputs: Sequence[tuple[Shape, torch.dtype]]) -> list[int]:
    """A size for each name, all different, with which the largest input has about `USUAL` elements."""
    largest = max(
        (given[0] for given in inputs if given),
        key=lambda shape: sum(isinstance(size, str) for size in shape),
    )
    fixed = math.prod(size for size in largest if isinstance(size, int))
    each = max(3.0, USUAL / fixed) ** (1 / max(1, len(names)))
    return [math.ceil(each) + 1 + number for number in range(len(names))]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Neither gradients nor a user's modes reach into the tracing."""
    with torch.no_grad(), torch.amp.autocast("cpu", enabled=False), torch.amp.autocast("cuda", enabled=False):
        yield
