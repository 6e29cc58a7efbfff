"""The parts of torch's compiler that `fuse` uses.

They are private to torch and may change with any release, so only this file imports them, and it is tested
with every torch in docs/platforms.md. If one is missing, neurons run uncompiled, and the log says why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int | str, ...]
"""Sizes; a name stands for a size that may change from call to call."""


def compile_graph(
    function: Callable[..., Sequence[Tensor]],
    sizes: Mapping[str, int],
    inputs: Sequence[tuple[Shape, torch.dtype]],
    device: torch.device,
) -> Callable[[list[Any]], Sequence[Tensor]]:
    """`function` compiled; it takes one list: the values of the named sizes, followed by the tensors.

    Args:
        function: pure, from tensors to tensors.
        sizes: an example of each named size, all different.
        inputs: shape and dtype of each tensor. Kernels read memory in order, so the tensors passed to them
            may have any shape with that number of elements.
        device: of the tensors.
    """
    # These take a second or two to import.
    from torch._dynamo.source import ConstantSource
    from torch._dynamo.utils import get_metrics_context
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

    shapes = ShapeEnv()
    symbols: dict[int | str, Any] = {}
    for name, hint in sizes.items():
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
        return tuple(function(*arguments[len(sizes) :]))

    with _alone(), mode, tracing(TracingContext(mode)):
        arguments = [*symbols.values(), *fakes]
        trace = make_fx(traced, decomposition_table=select_decomp_table(), _allow_non_fake_inputs=True)
        graph = trace(*arguments)
        # torch 2.6 and 2.7 count hits in the disk cache, which they can only do within this context.
        with get_metrics_context(), config.patch(size_asserts=False):
            compiled: Any = compile_fx_inner(graph, arguments)

    # Only hooks for profilers wrap the bare kernel.
    bare: Callable[[list[Any]], Sequence[Tensor]] = getattr(compiled, "current_callable", None) or compiled
    return bare


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep gradients and the user's modes out of the tracing."""
    with torch.no_grad(), torch.amp.autocast("cpu", enabled=False), torch.amp.autocast("cuda", enabled=False):
        yield
