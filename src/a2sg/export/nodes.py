"""The layer for each node of NIR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from a2sg.errors import InputError, require
from a2sg.export.conventions import Convention
from a2sg.models.layers import PerStep
from a2sg.neuron import IF, LIF
from a2sg.neuron.constants import Constant

Layer = TypeVar("Layer", bound=nn.Module)


class Scale(nn.Module):
    """The input times factors that are not trained.

    Args:
        factor: one number, or one for each value of a sample `[...]`.
    """

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """`[T, B, ...]`, in the shape of the input."""
        return x * self.factor


def layer_of(
    node: Any, steps: int, convention: Convention, dtype: torch.dtype, options: dict[str, Any]
) -> nn.Module:
    """A layer over `[T, B, ...]` that computes the same as a node.

    Args:
        node: of a `nir.NIRGraph`.
        steps: T.
        convention: how the node is read.
        dtype: of its weights.
        options: of neurons, such as `surrogate`.

    Raises:
        InputError: for a node, or a property of one, that no layer here has.
    """
    import nir

    kinds: dict[type, Callable[[], nn.Module]] = {
        nir.Input: nn.Identity,
        nir.Output: nn.Identity,
        nir.Affine: lambda: _linear(node, bias=True),
        nir.Linear: lambda: _linear(node, bias=False),
        nir.Conv1d: lambda: PerStep(_convolution(nn.Conv1d, node, 1)),
        nir.Conv2d: lambda: PerStep(_convolution(nn.Conv2d, node, 2)),
        nir.Scale: lambda: Scale(torch.as_tensor(node.scale)),
        nir.AvgPool2d: lambda: PerStep(_pool(node, divisor=None)),
        nir.SumPool2d: lambda: PerStep(_pool(node, divisor=1)),
        nir.Flatten: lambda: _flatten(node),
        nir.IF: lambda: _neuron(node, steps, convention, dtype, options),
        nir.LIF: lambda: _neuron(node, steps, convention, dtype, options),
    }
    make = kinds.get(type(node))
    if make is None:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(f"no layer here does what nir.{type(node).__name__} does: supported are {known}")
    return make().to(dtype)


def _linear(node: Any, bias: bool) -> nn.Linear:
    outputs, inputs = node.weight.shape
    return _filled(nn.Linear(inputs, outputs, bias), node)


def _convolution(kind: type[nn.Conv1d] | type[nn.Conv2d], node: Any, dimensions: int) -> nn.Module:
    outputs, inputs, *size = node.weight.shape
    groups = int(node.groups)
    places: Any = {
        name: _sizes(getattr(node, name), dimensions) for name in ("stride", "padding", "dilation")
    }
    return _filled(kind(inputs * groups, outputs, tuple(size), groups=groups, **places), node)


def _filled(layer: Layer, node: Any) -> Layer:
    """The layer with the node's weights, in float64."""
    layer.double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.as_tensor(getattr(node, name)))
    return layer


def _pool(node: Any, divisor: int | None) -> nn.AvgPool2d:
    sizes: Any = [_sizes(one, 2) for one in (node.kernel_size, node.stride, node.padding)]
    require(divisor is not None or sizes[2] == (0, 0), "NIR does not say what a padded mean is divided by")
    size, stride, padding = sizes
    return nn.AvgPool2d(size, stride, padding, divisor_override=divisor)


def _flatten(node: Any) -> nn.Flatten:
    start, end = int(node.start_dim), int(node.end_dim)
    return nn.Flatten(start + 2 if start >= 0 else start, end + 2 if end >= 0 else end)


def _neuron(
    node: Any, steps: int, convention: Convention, dtype: torch.dtype, options: dict[str, Any]
) -> nn.Module:
    """See `a2sg.export.neurons` for the way back."""
    threshold, zero = np.asarray(node.v_threshold, float), np.zeros(1)
    if convention.reset == "hard":
        reset = zero if node.v_reset is None else node.v_reset
        require(bool(np.all(reset == 0)), "it resets to a potential other than 0, which no neuron here does")
        # NIR fires above the threshold, our neurons at it.
        kind = np.float64 if dtype == torch.float64 else np.float32
        threshold = np.nextafter(threshold.astype(kind), kind(np.inf)).astype(float)
    shared = {"threshold": _constant("v_threshold", threshold), "reset": convention.reset, **options}
    if not hasattr(node, "tau"):
        plain = convention.current != "r"
        factor = np.ones_like(threshold) if plain else np.asarray(node.r, float) * convention.dt
        return _scaled(factor, IF(steps, **shared))
    require(
        bool(np.all(node.v_leak == 0)), "it leaks towards a potential other than 0, which no neuron here does"
    )
    tau = np.asarray(node.tau, float)
    decay = convention.kept(tau)
    require(
        bool(np.all((decay >= 0) & (decay < 1))),
        f"the smallest tau is {tau.min():g}, but a step is dt = {convention.dt:g}: the file was written for "
        "a reader with other steps; pass that one as reader=",
    )
    factor = convention.taken(decay, np.asarray(node.r, float))
    return _scaled(factor, LIF(steps, decay=_constant("tau", decay), **shared))


def _scaled(factor: NDArray[Any], neuron: nn.Module) -> nn.Module:
    """The neuron, preceded by a factor on its current if that is not 1 up to rounding."""
    if np.allclose(factor, 1, rtol=0, atol=1e-6):
        return neuron
    return nn.Sequential(Scale(torch.as_tensor(factor)), neuron)


def _constant(name: str, values: NDArray[Any]) -> Constant:
    """One number for all of a sample's values, or one for each channel `[C]`."""
    values = np.atleast_1d(values)
    by_channel = values.reshape(len(values), -1)
    require(
        bool((by_channel == by_channel[:, :1]).all()),
        f"{name} differs within a channel, and neurons here have one for each channel at most",
    )
    if (values == values.flat[0]).all():
        return float(values.flat[0])
    return torch.as_tensor(by_channel[:, 0].copy())


def _sizes(value: Any, dimensions: int) -> tuple[int, ...] | str:
    if isinstance(value, str):
        return value
    found = tuple(int(one) for one in np.atleast_1d(value))
    return found * dimensions if len(found) == 1 else found
