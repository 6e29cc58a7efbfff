"""Synaptic operations and the energy they would cost, counted in forward passes.

The first synaptic layer reads real values: one multiply-accumulate (MAC) per connection. Every other
layer reads spikes: one accumulate per spike and connection, nothing where there is no spike. Connections
are counted exactly: at the border of a zero-padded convolution an input has fewer of them.

The products of spiking attention, `SpikeProduct`, are counted in the order in which they are computed. In the
first, between two kinds of spikes, each pair that meets costs one accumulate (levels multiply); in the
second, each spike costs one per connection, as if the first had made weights.

An estimate, as is usual in the field, of arithmetic alone: no memory traffic, no neuron updates, no
biases (batch norm is taken as folded), no sums of spikes as in Q-K token attention. What is computed once
counts once: networks of `a2sg.models` send an image that all T steps see through the first weights once.

Counted are the calls of `linear`, `conv1d` to `conv3d` and `conv_transpose1d` to `conv_transpose3d`, which
torch's layers end in and your own modules may call themselves, and `SpikeProduct`. Whatever else
multiplies is named in `Energy.uncounted`: other products, recurrent layers of torch, quantised layers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from a2sg.energy.counts import LayerOperations, NeuronCount, ProductCount, SynapseCount, merged
from a2sg.energy.synapses import COUNTED, Connection, connection, uncounted
from a2sg.errors import require_count
from a2sg.models.attention import SpikeProduct
from a2sg.modes import in_mode
from a2sg.neuron import IntegerLIF, SpikingNeuron, State
from a2sg.ranks import gathered
from a2sg.window.site import require_module

MAC_PICOJOULES = 4.6
ACCUMULATE_PICOJOULES = 0.9
"""32-bit floating point in 45 nm (Horowitz, Computing's energy problem, ISSCC 2014)."""


@dataclass(frozen=True)
class Energy:
    """What a forward pass costs, per sample."""

    macs: float
    accumulates: float
    spikes: float
    """Over all neurons and steps; an integer spike counts its level."""
    picojoules: float
    layers: list[LayerOperations]
    """Layers in the order of their first call."""
    firing_rates: dict[str, list[float]]
    """Per spiking layer, the mean spike over batch and neurons at each of the T steps."""
    neurons: dict[str, float]
    """Per spiking layer, how many."""
    uncounted: list[str]
    """Other multiplications, included in none of the numbers: "layer (function)"; empty if all is counted."""


class EnergyMeter:
    """Counts operations and spikes of all forward passes while its context lasts:

        with EnergyMeter(model) as meter:
            for images, _ in loader:
                model(images)
        energy = meter.result(samples=len(data))

    A layer's input counts as spikes if its values are, within 5 %, whole multiples of one quantum: 1
    for binary spikes, less after average pooling, where a value then counts the spikes that went into it.
    The quantum is the largest that fits all inputs seen. So an average-pooled map is counted short if by
    chance all its values are multiples of more than one spike's share; over a whole test set this does not
    happen in practice. If no quantum fits, the layer counts as MACs.

    A layer is named after its module; weights that a module uses itself after the parameter, or if they
    are computed, after the module and the function. Meanwhile, what `torch.compile` made runs uncompiled.

    Args:
        model: holds a2sg neurons; spikes of others are used for operations, but not counted.
        mac_picojoules: energy of a MAC.
        accumulate_picojoules: energy of an accumulate.
        real_input: whether the first synaptic layer reads real values; False for event data.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mac_picojoules: float = MAC_PICOJOULES,
        accumulate_picojoules: float = ACCUMULATE_PICOJOULES,
        real_input: bool = True,
    ) -> None:
        require_module(model)
        self.model = model
        self.mac_picojoules = mac_picojoules
        self.accumulate_picojoules = accumulate_picojoules
        self.real_input = real_input
        self._synapses: dict[str, SynapseCount | ProductCount] = {}
        self._neurons: dict[str, NeuronCount] = {}
        self._uncounted: dict[str, None] = {}
        self._running: list[tuple[str, nn.Module]] = []
        self._open = ExitStack()

    def __enter__(self) -> EnergyMeter:
        model = getattr(self.model, "_orig_mod", self.model)  # of torch.compile
        with ExitStack() as stack:
            for name, module in model.named_modules():
                begin, end = partial(self._begin, name), partial(self._end, name)
                stack.callback(module.register_forward_pre_hook(begin).remove)
                stack.callback(module.register_forward_hook(end, always_call=True).remove)
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(_Calls(self._call))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.clear()
        self._open.close()

    def add_ranks(self) -> None:
        """Add what all ranks of a distributed run have counted; all must call it, once."""
        self._synapses = merged(gathered(self._synapses))
        self._neurons = merged(gathered(self._neurons))
        self._uncounted = {name: None for found in gathered(self._uncounted) for name in found}

    def result(self, samples: int) -> Energy:
        """The counts so far, per sample.

        Args:
            samples: how many went through the model; B for `[T, B, ...]`.

        Raises:
            InputError: if `samples` is not a whole number above 0.
        """
        require_count("samples", samples)
        layers = [count.row(name, samples) for name, count in self._synapses.items()]
        macs = sum(layer.macs for layer in layers)
        accumulates = sum(layer.accumulates for layer in layers)
        return Energy(
            macs=macs,
            accumulates=accumulates,
            spikes=sum(sum(count.spikes) for count in self._neurons.values()) / samples,
            picojoules=macs * self.mac_picojoules + accumulates * self.accumulate_picojoules,
            layers=layers,
            firing_rates={name: count.rates for name, count in self._neurons.items()},
            neurons={name: count.outputs / samples for name, count in self._neurons.items()},
            uncounted=list(self._uncounted),
        )

    def _begin(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._running.append((name, module))

    @torch.no_grad()
    def _end(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self._running.pop()
        if output is None:  # it failed
            return
        if isinstance(module, SpikeProduct):
            product = self._synapses.setdefault(name, ProductCount())
            assert isinstance(product, ProductCount)
            product.add(*module.per_head(*inputs))
        elif isinstance(module, SpikingNeuron):
            self._count_spikes(name, module, output)

    def _count_spikes(self, name: str, neuron: SpikingNeuron, output: Tensor | tuple[Tensor, State]) -> None:
        scale = neuron.levels if isinstance(neuron, IntegerLIF) and neuron.normalize else 1
        count = self._neurons.setdefault(name, NeuronCount())
        if isinstance(output, Tensor):
            count.add(output, scale)
        else:  # part of a sequence
            spikes, state = output
            count.add(spikes, scale, state.step - len(spikes))

    @torch.no_grad()
    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Count a call of any of torch's functions."""
        if not self._running or isinstance(self._running[-1][1], SpikeProduct):
            return
        if function in COUNTED:
            call = connection(function, args, kwargs)
            name = self._name(call)
            if name not in self._synapses:
                first = not self._synapses and not self._uncounted
                self._synapses[name] = SynapseCount(0.0 if first and self.real_input else math.inf)
            count = self._synapses[name]
            assert isinstance(count, SynapseCount)
            count.add(call)
        elif other := uncounted(function):
            name, module = self._running[-1]
            self._uncounted[f"{name or type(module).__name__} ({other})"] = None

    def _name(self, call: Connection) -> str:
        name, module = self._running[-1]
        own = (key for key, weight in module.named_parameters() if weight is call.weight)
        parameter = next(own, call.function.__name__)
        if parameter == "weight" or isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            return name
        return f"{name}.{parameter}".removeprefix(".").removesuffix(".weight")


class _Calls(TorchFunctionMode):
    """Reports every call of a torch function."""

    def __init__(self, tell: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.tell(func, args, kwargs or {})  # unless it failed
        return output


def measure(
    model: nn.Module,
    inputs: Tensor,
    *,
    samples: int | None = None,
    forward: Callable[[nn.Module, Tensor], Any] | None = None,
    **options: Any,
) -> Energy:
    """Measure one forward pass, in evaluation mode and without gradients; the model is left as it was.

    Args:
        model: see `EnergyMeter`.
        inputs: what the model takes.
        samples: their number; None takes B from the shape: `[B, C, H, W]`, else `[T, B, ...]`.
        forward: called with the model and the inputs, if it is not `model(inputs)`: a step loop.
        **options: of `EnergyMeter`.
    """
    if samples is None:
        samples = inputs.shape[batch_dimension(inputs)]
    with in_mode(model, training=False), torch.no_grad(), EnergyMeter(model, **options) as meter:
        if forward is None:
            model(inputs)
        else:
            forward(model, inputs)
    return meter.result(samples)


def batch_dimension(inputs: Tensor) -> int:
    """Which dimension counts samples: images `[B, C, H, W]`, else `[T, B, ...]`."""
    return 0 if inputs.dim() == 4 else 1
