"""Synaptic operations and the energy they would cost, counted in forward passes.

The first synaptic layer reads real values: one multiply-accumulate (MAC) per connection. Every other
layer reads spikes: one accumulate per spike and connection, nothing where there is no spike. Connections
are counted exactly: at the border of a zero-padded convolution an input has fewer of them.

The products of spiking attention, `SpikeProduct`, are counted in the order in which they are computed. In the
first of them, of two kinds of spikes, one accumulate for each pair that meets (levels multiply); in the
second one per spike and connection, as if the first had made weights.

An estimate, as is usual in the field, of arithmetic alone: no memory traffic, no neuron updates, no
biases (batch norm is taken as folded), no sums of spikes as in Q-K token attention. Counted are `nn.Conv1d`,
`nn.Conv2d`, `nn.Linear` and `SpikeProduct`. What is computed once counts once: networks of `a2sg.models`
send an image that all T steps see through the first weights once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from a2sg.errors import require_count
from a2sg.models.attention import SpikeProduct
from a2sg.modes import in_mode
from a2sg.neuron import IntegerLIF, SpikingNeuron, State
from a2sg.operations import LayerOperations, NeuronCount, ProductCount, Synapse, SynapseCount, merged
from a2sg.ranks import gathered

__all__ = ["Energy", "EnergyMeter", "LayerOperations", "measure"]

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
    """In the order of their first call."""
    firing_rates: dict[str, list[float]]
    """Per spiking layer, the mean spike over batch and neurons at each of the T steps."""
    neurons: dict[str, float]
    """Per spiking layer, how many."""


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
        self.model = model
        self.mac_picojoules = mac_picojoules
        self.accumulate_picojoules = accumulate_picojoules
        self.real_input = real_input
        self._synapses: dict[str, SynapseCount | ProductCount] = {}
        self._neurons: dict[str, NeuronCount] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> EnergyMeter:
        for name, module in self.model.named_modules():
            if isinstance(module, Synapse):
                self._hooks.append(module.register_forward_hook(self._synapse_hook(name)))
            elif isinstance(module, SpikeProduct):
                self._hooks.append(module.register_forward_hook(self._product_hook(name)))
            elif isinstance(module, SpikingNeuron):
                self._hooks.append(module.register_forward_hook(self._neuron_hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def add_ranks(self) -> None:
        """Add what all ranks of a distributed run have counted; all must call it, once."""
        self._synapses = merged(gathered(self._synapses))
        self._neurons = merged(gathered(self._neurons))

    def result(self, samples: int) -> Energy:
        """What was counted so far, per sample.

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
        )

    def _synapse_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(module: Synapse, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name not in self._synapses:
                real = self.real_input and not self._synapses
                self._synapses[name] = SynapseCount(quantum=0.0 if real else math.inf)
            count = self._synapses[name]
            assert isinstance(count, SynapseCount)
            count.add(module, inputs[0])

        return hook

    def _product_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(module: SpikeProduct, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            count = self._synapses.setdefault(name, ProductCount())
            assert isinstance(count, ProductCount)
            count.add(*module.per_head(*inputs))

        return hook

    def _neuron_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(module: SpikingNeuron, inputs: Any, output: Tensor | tuple[Tensor, State]) -> None:
            scale = module.levels if isinstance(module, IntegerLIF) and module.normalize else 1
            count = self._neurons.setdefault(name, NeuronCount())
            if isinstance(output, Tensor):
                count.add(output, scale)
            else:  # part of a sequence
                spikes, state = output
                count.add(spikes, scale, state.step - len(spikes))

        return hook


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
        samples: how many these are; None reads B off: `[B, C, H, W]`, else `[T, B, ...]`.
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
