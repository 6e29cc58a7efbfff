"""Which calls connect inputs to outputs with weights, and how many connections leave each input."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from a2sg.devices import with_float64

CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")

COUNTED: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.linear: ("input", "weight", "bias"),
    torch.conv1d: CONVOLUTION,
    torch.conv2d: CONVOLUTION,
    torch.conv3d: CONVOLUTION,
    torch.conv_transpose1d: TRANSPOSED,
    torch.conv_transpose2d: TRANSPOSED,
    torch.conv_transpose3d: TRANSPOSED,
}
"""The functions that all torch layers with weights call in the end, and the names of their arguments."""

PRODUCTS = {
    *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "addmv"),
    *("einsum", "tensordot", "chain_matmul", "multi_dot", "inner", "bilinear", "conv_tbc"),
    *("scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention"),
    *("_transformer_encoder_layer_fwd", "lstm", "gru", "rnn_tanh", "rnn_relu"),
    *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
}
"""Functions of torch that multiply as well, and are not counted."""


@dataclass(frozen=True)
class Connection:
    """A call of a function of `COUNTED`.

    Attributes:
        function: its name.
        values: its input.
        weight: its weight.
        options: stride, padding and so on, those that were given.
    """

    function: Callable[..., Tensor]
    values: Tensor
    weight: Tensor
    options: Mapping[str, Any]

    @property
    def shape(self) -> torch.Size:
        """Of one sample of the input."""
        return self.values.shape[1 - max(2, self.weight.dim()) :]

    @property
    def key(self) -> Hashable:
        """Everything on which its fan-out depends."""
        return self.function, self.shape, self.weight.shape, repr(sorted(self.options.items()))


def connection(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Connection:
    """A call of a function of `COUNTED`, by the names of its arguments."""
    options = dict(zip(COUNTED[function], args, strict=False)) | kwargs
    values, weight = options.pop("input"), options.pop("weight")
    options.pop("bias", None)
    return Connection(function, values, weight, options)


def uncounted(function: Callable[..., Any]) -> str | None:
    """The name of a function that multiplies and is not counted, such as a quantised layer's; else None."""
    operator = getattr(function, "_qualified_op_name", "")  # of torch.ops
    if operator.startswith("quantized::"):
        return operator
    name = getattr(function, "__name__", "")
    return name.strip("_").replace("rmatmul", "matmul") if name in PRODUCTS else None


def fan_out(call: Connection) -> Tensor:
    """How many connections leave each input, float64 in the shape of one sample.

    It is the gradient of the summed output by the input when all weights are 1.
    """
    weight, shape, device = call.weight, call.shape, with_float64(call.values.device)
    if call.function is functional.linear:
        outputs = len(weight) if weight.dim() == 2 else 1
        return torch.full(shape, outputs, dtype=torch.float64, device=device)
    groups = call.options.get("groups", 1)
    # One output channel per group represents all of them.
    if COUNTED[call.function] is TRANSPOSED:
        size, alike = (weight.shape[0], 1, *weight.shape[2:]), weight.shape[1]
    else:
        size, alike = (groups, *weight.shape[1:]), weight.shape[0] // groups
    ones = torch.ones(size, dtype=torch.float64, device=device)
    with torch.enable_grad():
        probe = torch.zeros(1, *shape, dtype=torch.float64, device=device, requires_grad=True)
        output = call.function(probe, ones, **call.options)
        (reached,) = torch.autograd.grad(output.sum(), probe)
    return reached[0] * alike
