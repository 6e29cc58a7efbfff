"""A device without float64, as Apple's GPUs are, on any machine.

Its tensors say that they are on "meta", for which autograd needs nothing that is not there, and hold their
values on the CPU. No operation takes one of them and another tensor, but for copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

MPS = torch.device("meta")
"""What the device is called."""


class OnMps(Tensor):
    """A tensor on the device; `held` is what it holds."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> OnMps:
        if held.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it"
            )
        made: OnMps = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=MPS, requires_grad=requires_grad
        )
        made.held = held
        return made

    def __init__(self, held: Tensor, requires_grad: bool = False) -> None: ...

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        target = kwargs.get("device")
        mine = [x for x in args if isinstance(x, Tensor) and not isinstance(x, OnMps) and x.dim() > 0]
        if func is torch.ops.aten.copy_.default:  # the one operation between two devices
            to, source = (x.held if isinstance(x, OnMps) else x for x in args[:2])
            to.copy_(source.to(to.dtype))
            return args[0]
        assert not mine, f"{func} of tensors on two devices"
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        plain_args, plain_kwargs = tree_map_only(OnMps, lambda x: x.held, (tuple(args), kwargs))
        found = func(*plain_args, **plain_kwargs)
        if target is not None and torch.device(target).type == "cpu":
            return found
        if func._schema.is_mutable and isinstance(found, Tensor):
            return args[0]
        return tree_map_only(Tensor, OnMps, found)


class Apple(TorchDispatchMode):
    """Where tensors that are made on the device hold values."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if (
            device is not None
            and torch.device(device) == MPS
            and not any(issubclass(t, OnMps) for t in types)
        ):
            return OnMps(func(*args, **{**kwargs, "device": torch.device("cpu")}))
        return func(*args, **kwargs)


def to_mps(net: nn.Module) -> nn.Module:
    """Bring a network there."""
    for module in net.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(OnMps(parameter.detach().clone()))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnMps(buffer.clone())
    return net
