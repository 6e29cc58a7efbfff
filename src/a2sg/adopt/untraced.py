"""A call that the user's `torch.compile` does not trace.

It is a separate module because the decorator imports the compiler, which takes as long as torch itself.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@torch.compiler.disable
def untraced(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function`, uncompiled."""
    return function(*args, **kwargs)
