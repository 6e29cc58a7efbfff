"""How each layer is written in NIR."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from a2sg.errors import InputError, called
from a2sg.export.neurons import constant_array, neuron_node
from a2sg.export.nodes import Scale
from a2sg.export.passes import Signal, follow
from a2sg.export.wiring import Wire, Wiring
from a2sg.models.attention import SelfAttention, SpikeProduct, TokenAttention
from a2sg.models.blocks import PooledNeuron
from a2sg.models.layers import Frames, PerStep, SpikingLayer, TdBatchNorm
from a2sg.models.maps import AveragePool
from a2sg.models.norms import TimeMeanBatchNorm
from a2sg.models.residual import BasicBlock, ConvNorm, Residual
from a2sg.neuron import IntegerLIF, SpikingNeuron

MAX_POOL = "NIR has no max pooling: use average pooling"
ATTENTION = "NIR has no product of two activations, which attention needs"
REFUSED: dict[type[nn.Module], str] = {
    IntegerLIF: "NIR has no integer spikes: use a2sg.LIF",
    TimeMeanBatchNorm: "NIR has no mean over time: train with norm='td'",
    nn.MaxPool1d: MAX_POOL,
    nn.MaxPool2d: MAX_POOL,
    nn.AdaptiveMaxPool2d: MAX_POOL,
    PooledNeuron: MAX_POOL,
    SelfAttention: ATTENTION,
    SpikeProduct: ATTENTION,
    TokenAttention: ATTENTION,
}
"""What NIR cannot express, and what to use instead."""


def visit(wiring: Wiring, module: nn.Module, layer: str, wire: Wire, leading: int) -> Wire:
    """Add a layer to a graph.

    Args:
        wiring: the graph.
        module: the layer.
        layer: its name, empty for the model itself.
        wire: its input.
        leading: dimensions of tensors before those of a sample: 2 for `[T, B, ...]`, 1 where T has joined B.

    Returns:
        Its output.

    Raises:
        InputError: if NIR, or the reader that the graph is for, has nothing like it.
    """
    _check(module, layer)
    add = next((add for kind, add in LAYERS.items() if _is(module, kind)), None)
    if add is not None:
        return add(wiring, module, layer, wire, leading)
    if _is_layer(module):
        raise _refusal(module, layer, "NIR has nothing like it")

    def inside(inner: nn.Module, name: str, wire: Wire, leading: int) -> Wire:
        return visit(wiring, inner, name, wire, leading)

    try:
        return follow(module, layer, Signal(wire, leading), wiring, inside, _is_layer)
    except LayerError:
        raise
    except InputError as error:
        for name, part in module.named_modules():  # the better reason may lie inside
            _check(part, _below(layer, name))
        raise _refusal(module, layer, str(error)) from None


def _check(module: nn.Module, layer: str) -> None:
    for kind, reason in REFUSED.items():
        if isinstance(module, kind):
            raise _refusal(module, layer, reason)


def _is(module: nn.Module, kind: type[nn.Module]) -> bool:
    # A subclass with its own forward pass is a different layer.
    return isinstance(module, kind) and type(module).forward is kind.forward


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is added or refused as a whole."""
    of_torch = type(module).__module__.startswith("torch.nn.")
    return of_torch or isinstance(module, tuple(REFUSED)) or any(_is(module, kind) for kind in LAYERS)


def _nothing(wiring: Wiring, module: nn.Module, layer: str, wire: Wire, leading: int) -> Wire:
    return wire


def _in_order(wiring: Wiring, module: nn.Module, layer: str, wire: Wire, leading: int) -> Wire:
    for name, child in module._modules.items():  # named_children leaves out what is there twice
        assert child is not None
        wire = visit(wiring, child, _below(layer, name), wire, leading)
    return wire


def _per_step(wiring: Wiring, module: PerStep, layer: str, wire: Wire, leading: int) -> Wire:
    return visit(wiring, module.layer, layer, wire, leading=1)


def _current(wiring: Wiring, module: ConvNorm | SpikingLayer, layer: str, wire: Wire, leading: int) -> Wire:
    wire = visit(wiring, module.synapse, _below(layer, "synapse"), wire, leading=1)
    return visit(wiring, module.norm, _below(layer, "norm"), wire, leading)


def _spiking(wiring: Wiring, module: SpikingLayer, layer: str, wire: Wire, leading: int) -> Wire:
    wire = _current(wiring, module, layer, wire, leading)
    return visit(wiring, module.neuron, _below(layer, "neuron"), wire, leading)


def _residual(wiring: Wiring, module: Residual, layer: str, wire: Wire, leading: int) -> Wire:
    wire = replace(wire, shared=True)
    branch = visit(wiring, module.branch, _below(layer, "branch"), wire, leading)
    shortcut = visit(wiring, module.shortcut, _below(layer, "shortcut"), wire, leading)
    wire = wiring.join(layer, branch, shortcut)
    return visit(wiring, module.neuron, _below(layer, "neuron"), wire, leading)


def _linear(wiring: Wiring, module: nn.Linear, layer: str, wire: Wire, leading: int) -> Wire:
    import nir

    if len(wire.shape) != 1:
        raise _refusal(module, layer, f"its input has the shape {wire.shape}: put nn.Flatten before it")
    weight, bias = _weights(module)
    return wiring.add_weights(layer, nir.Affine(weight=weight, bias=bias), wire, (len(weight),))


def _conv(wiring: Wiring, module: nn.Conv1d | nn.Conv2d, layer: str, wire: Wire, leading: int) -> Wire:
    import nir

    if leading != 1:
        raise _refusal(module, layer, "convolutions have no time axis: wrap it in a2sg.models.layers.PerStep")
    if module.padding_mode != "zeros":
        raise _refusal(module, layer, f"NIR pads with zeros, not with padding_mode={module.padding_mode!r}")
    if module.groups != 1:
        raise _refusal(module, layer, "the package nir cannot infer the shapes of grouped convolutions")
    weight, bias = _weights(module)
    behind, size = _shape_behind(module, wire), wire.shape[1:]
    places = (module.stride, module.padding, module.dilation)
    if isinstance(module, nn.Conv1d):
        stride, padding, dilation = (one if isinstance(one, str) else one[0] for one in places)
        node = nir.Conv1d(size[0], weight, stride, padding, dilation, 1, bias)
    else:
        node = nir.Conv2d(size, weight, *places, 1, bias)
    return wiring.add_weights(layer, node, wire, behind)


def _norm(wiring: Wiring, module: nn.BatchNorm2d, layer: str, wire: Wire, leading: int) -> Wire:
    if module.running_mean is None or module.running_var is None:
        raise _refusal(module, layer, "without running statistics it depends on the batch")
    scale = (_array(module.running_var) + module.eps) ** -0.5
    if module.affine:
        scale = scale * _array(module.weight)
    shift = -scale * _array(module.running_mean)
    if module.affine:
        shift = shift + _array(module.bias)
    if not wiring.fold(wire, scale, shift):
        raise _refusal(module, layer, "batch norm can be folded only into weights right before it")
    return wire


def _pool(wiring: Wiring, module: nn.AvgPool2d, layer: str, wire: Wire, leading: int) -> Wire:
    if module.ceil_mode or any(_pair(module.padding)):
        raise _refusal(module, layer, "NIR's pooling has no ceil_mode, nor a known padding")
    shape, size = _shape_behind(module, wire), _pair(module.kernel_size)
    behind = _add_pool(wiring, layer, wire, shape, size, _pair(module.stride))
    return replace(
        behind, gain=behind.gain * size[0] * size[1] / (module.divisor_override or math.prod(size))
    )


def _pool_to(wiring: Wiring, module: nn.AdaptiveAvgPool2d, layer: str, wire: Wire, leading: int) -> Wire:
    shape = _shape_behind(module, wire)
    height, width = (inside // outside for inside, outside in zip(wire.shape[1:], shape[1:], strict=True))
    if (shape[1] * height, shape[2] * width) != wire.shape[1:]:
        raise _refusal(module, layer, f"its windows differ in size from {wire.shape[1:]} to {shape[1:]}")
    return _add_pool(wiring, layer, wire, shape, (height, width), (height, width))


def _add_pool(
    wiring: Wiring,
    layer: str,
    wire: Wire,
    shape: tuple[int, ...],
    size: tuple[int, int],
    stride: tuple[int, int],
) -> Wire:
    import nir

    summed = wiring.convention.pool == "sum"
    kind = nir.SumPool2d if summed else nir.AvgPool2d
    node = kind(kernel_size=np.array(size), stride=np.array(stride), padding=np.array((0, 0)))
    behind = wiring.add(layer, node, wire, shape)
    return replace(behind, gain=wire.gain / (size[0] * size[1] if summed else 1))


def _flatten(wiring: Wiring, module: nn.Flatten, layer: str, wire: Wire, leading: int) -> Wire:
    if module.start_dim != leading or module.end_dim != -1:
        raise _refusal(module, layer, f"it must flatten whole samples: nn.Flatten({leading})")
    return wiring.flat(layer, wire)


def _neuron(wiring: Wiring, module: SpikingNeuron, layer: str, wire: Wire, leading: int) -> Wire:
    if leading != 2:
        raise _refusal(module, layer, "inside PerStep it would treat all steps as one")
    convention, decay = wiring.convention, constant_array(module.leak())
    wanted = wire.gain * (decay if module.order == "scaled" else 1.0)
    share, wire = convention.share(decay), replace(wire, gain=1.0)
    if np.any(wanted != share) and not wiring.fold(wire, wanted / share, 0.0):
        if convention.current != "r":
            raise _refusal(
                module,
                layer,
                "this reader ignores r, and there are no weights to scale that this neuron alone reads",
            )
        share = np.asarray(wanted)
    try:
        node = neuron_node(module, wire.shape, decay, share, convention, wiring.dtype)
    except InputError as error:
        raise _refusal(module, layer, str(error)) from None
    return wiring.add(layer, node, wire)


def _scale(wiring: Wiring, module: Scale, layer: str, wire: Wire, leading: int) -> Wire:
    import nir

    factor = _array(module.factor)
    if (factor == factor.flat[0]).all():  # whatever comes next can take it
        return replace(wire, gain=wire.gain * float(factor.flat[0]))
    factor = np.broadcast_to(factor * wire.gain, wire.shape)
    return wiring.add(layer, nir.Scale(scale=factor.astype(wiring.dtype)), wire)


LAYERS: dict[type[nn.Module], Callable[[Wiring, Any, str, Wire, int], Wire]] = {
    Frames: _nothing,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
    nn.Sequential: _in_order,
    PerStep: _per_step,
    SpikingLayer: _spiking,
    ConvNorm: _current,
    TdBatchNorm: _in_order,
    nn.modules.batchnorm._BatchNorm: _norm,
    BasicBlock: _residual,
    Residual: _residual,
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    AveragePool: _pool,
    nn.AvgPool2d: _pool,
    nn.AdaptiveAvgPool2d: _pool_to,
    nn.Flatten: _flatten,
    Scale: _scale,
    SpikingNeuron: _neuron,
}
"""How to add each kind of layer, by its known forward pass."""


class LayerError(InputError):
    """A layer that cannot be exported, named."""


def _refusal(module: nn.Module, layer: str, reason: str) -> LayerError:
    return LayerError(f"{called(layer)} ({type(module).__name__}) cannot be exported: {reason}")


def _below(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer and name else layer or name


def _weights(module: nn.Linear | nn.Conv1d | nn.Conv2d) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight and bias, 0 if there is none: not every reader supports layers without a bias."""
    weight = _array(module.weight)
    return weight, np.zeros(len(weight)) if module.bias is None else _array(module.bias)


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().double().numpy()


def _shape_behind(module: nn.Module, wire: Wire) -> tuple[int, ...]:
    """The shape of a sample after a layer, according to the layer itself."""
    weight = next(module.parameters(), torch.empty(0))
    try:
        return tuple(module(weight.new_zeros(1, *wire.shape)).shape[1:])
    except RuntimeError as error:
        raise InputError(
            f"{type(module).__name__} takes no samples of shape {wire.shape}: {error}"
        ) from error


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
