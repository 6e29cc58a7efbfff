"""How Triton kernels are started."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from a2sg.kernels.fuse import FusionError


def launch(kernel: Any, grid: tuple[int, ...], near: Tensor, *data: object, **constants: object) -> None:
    """Run a kernel on the device of `near`; compiles it for these constants and types on its first call.

    Raises:
        FusionError: if it cannot be compiled or started, for any reason but memory.
    """
    try:
        with torch.cuda.device_of(near):
            kernel[grid](*data, **constants)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise FusionError(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}") from error
