"""A pure function of tensors as one kernel: TorchInductor without the rest of `torch.compile`.

`torch.compile` checks its guards and wraps its inputs at every call, which takes 25 µs and more: half the
time of a small layer. Here the caller says which sizes may change, so there is nothing to check.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from a2sg.kernels.inductor import Shape, compile_graph

USUAL = 2**20
"""Elements for which kernels are optimised: enough for every core, and few enough for 32-bit indices."""

Kernel = Callable[[list[Any]], Sequence[Tensor]]
"""The compiled function that `fuse` returns."""

_one_at_a_time = threading.Lock()


class FusionError(Exception):
    """A function could not be compiled."""

    @property
    def reason(self) -> str:
        """The first line of what the compiler said."""
        return str(self).strip().splitlines()[0]


def fuse(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[tuple[Shape, torch.dtype]],
    device: torch.device,
) -> Kernel:
    """Compile `function` for contiguous inputs of given shapes.

    Args:
        function: from tensors to tensors: pure, without control flow on values. Numbers that it closes over
            become constants.
        inputs: shape and dtype of each argument.
        device: of the tensors.

    Returns:
        A function of one list, which it empties: the values of the named sizes, in the order of their first
        appearance, followed by the tensors. Inputs are not checked, and may have other shapes over the same
        memory. It records no gradients.

    Raises:
        FusionError: if it cannot be compiled, for any reason.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # users could do nothing about the compiler's warnings
        try:
            return compile_graph(function, _hints(inputs), inputs, device)
        except Exception as error:
            raise FusionError(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}") from error


def _hints(inputs: Sequence[tuple[Shape, torch.dtype]]) -> dict[str, int]:
    """A value for each named size, all different, so that the largest input has about `USUAL` elements."""
    names = list(dict.fromkeys(size for shape, _ in inputs for size in shape if isinstance(size, str)))
    largest = max(
        (given[0] for given in inputs if given),
        key=lambda shape: sum(isinstance(size, str) for size in shape),
    )
    fixed = math.prod(size for size in largest if isinstance(size, int))
    each = max(3.0, USUAL / fixed) ** (1 / max(1, len(names)))
    return {name: math.ceil(each) + 1 + number for number, name in enumerate(names)}
