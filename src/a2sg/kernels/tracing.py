"""Whether torch only records what is done to a tensor: it would miss a kernel that it does not know."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from a2sg.errors import InputError

_KEYS = torch._C._TorchDispatchModeKey
RECORDERS = (_KEYS.FAKE, _KEYS.PROXY, _KEYS.FUNCTIONAL)
"""The modes of torch in which operations are recorded: fake tensors, `make_fx`, functionalization."""

_PYTHON = torch._C.DispatchKey.Python  # set while there is any mode: one quick look in an ordinary pass
_included = torch._C._dispatch_tls_is_dispatch_key_included


def tracing(tensor: Tensor) -> bool:
    """Whether `tensor` may have no values, or operations on it are being recorded, by any tracer of torch."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or tensor.is_meta
        or (type(tensor) is not Tensor and type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__)
        or (_included(_PYTHON) and any(torch._C._get_dispatch_mode(key) is not None for key in RECORDERS))
    )


def require_no_transform() -> None:
    """Raise `InputError` inside a transform of `torch.func`, which does not take our backward passes."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        raise InputError(
            "neurons and spikes do not work inside torch.func (grad, vmap, jvp, ...): use loss.backward() or "
            "torch.autograd.grad, also with functional_call, and a batch instead of vmap"
        )


def in_backward() -> bool:
    """Whether a backward pass runs: a forward pass within it is repeated by activation checkpointing."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def one_graph() -> bool:
    """Whether the backward pass is one graph of compiled autograd, which calls nothing at its end."""
    module = sys.modules.get("torch._dynamo.compiled_autograd")  # whose import takes as long as that of torch
    return bool(getattr(module, "in_compiled_autograd_region", False))
