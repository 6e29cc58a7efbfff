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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from a2sg.errors import require_count
from a2sg.models.attention import SpikeProduct, keys_meet_values
from a2sg.modes import in_mode
from a2sg.neuron import IntegerLIF, SpikingNeuron, State

__all__ = ["Energy", "EnergyMeter", "LayerOperations", "measure"]

MAC_PICOJOULES = 4.6
ACCUMULATE_PICOJOULES = 0.9
"""32-bit floating point in 45 nm (Horowitz, Computing's energy problem, ISSCC 2014)."""

Synapse = nn.Conv1d | nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class LayerOperations:
    """Operations of one synaptic layer, per sample."""

    name: str
    macs: float
    accumulates: float
    quantum: float | None
    """Input value that counts as one spike; None where MACs are counted or no spike came."""
    connections: float
    """Connections over all steps, used or not: the MACs, were every input a real number."""


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
        self._synapses: dict[str, _SynapseCount | _ProductCount] = {}
        self._neurons: dict[str, _NeuronCount] = {}
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
                self._synapses[name] = _SynapseCount(quantum=0.0 if real else math.inf)
            count = self._synapses[name]
            assert isinstance(count, _SynapseCount)
            count.add(module, inputs[0])

        return hook

    def _product_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(module: SpikeProduct, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            count = self._synapses.setdefault(name, _ProductCount())
            assert isinstance(count, _ProductCount)
            count.add(*module.per_head(*inputs))

        return hook

    def _neuron_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(module: SpikingNeuron, inputs: Any, output: Tensor | tuple[Tensor, State]) -> None:
            scale = module.levels if isinstance(module, IntegerLIF) and module.normalize else 1
            count = self._neurons.setdefault(name, _NeuronCount())
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


def common_quantum(values: Tensor, quantum: float = math.inf) -> float:
    """The largest number of which |values| and `quantum` are whole multiples, to a 20th of it.

    Euclid's algorithm on near-integers, over all values at once.

    Returns:
        The quantum; infinity if all values are 0; 0 if there is none of which the largest value is at
        most 4,096 multiples: the values are real numbers.
    """
    sizes = values.abs().flatten().to(torch.promote_types(values.dtype, torch.float32))
    sizes = sizes[sizes > 0]
    if sizes.numel() == 0 or quantum == 0:
        return quantum
    if math.isfinite(quantum):
        sizes = torch.cat([sizes, sizes.new_tensor([quantum])])
    quantum, largest = sizes.min().item(), sizes.max().item()
    while largest <= 4096 * quantum:
        multiples = sizes / quantum
        rest = (multiples - multiples.round()).abs()
        rest = rest[rest > 0.05]
        if rest.numel() == 0:
            return quantum
        quantum *= rest.min().item()
    return 0.0


def fan_out(module: Synapse, shape: torch.Size) -> Tensor:
    """How many connections leave each input of a layer, float64 in `shape` (that of one sample).

    It is the gradient of the summed output by the input when all weights are 1.
    """
    if isinstance(module, nn.Linear):
        return torch.full(shape, module.out_features, dtype=torch.float64, device=module.weight.device)
    weight = module.weight
    # One output channel per group stands for all of them.
    ones = torch.ones(module.groups, *weight.shape[1:], dtype=torch.float64, device=weight.device)
    with torch.enable_grad():
        probe = torch.zeros(1, *shape, dtype=torch.float64, device=weight.device, requires_grad=True)
        (reached,) = torch.autograd.grad(module._conv_forward(probe, ones, None).sum(), probe)
    return reached[0] * (module.out_channels // module.groups)


@dataclass
class _SynapseCount:
    quantum: float
    """Of all inputs so far; see `common_quantum`. Starts at 0 where MACs are to be counted."""
    connections: float = 0.0
    """Over all inputs: the MACs."""
    weighted: float = 0.0
    """Σ |input| · fan-out, in units of the input: the quantum may still get finer."""
    fan_outs: dict[torch.Size, Tensor] = field(default_factory=dict)

    def add(self, module: Synapse, values: Tensor) -> None:
        shape = values.shape[1 - module.weight.dim() :]
        if shape not in self.fan_outs:
            self.fan_outs[shape] = fan_out(module, shape)
        reached = self.fan_outs[shape]
        values = values.reshape(-1, *shape)
        self.connections += len(values) * reached.sum().item()
        self.quantum = common_quantum(values, self.quantum)
        if self.quantum > 0:
            self.weighted += (values.abs().sum(0, dtype=torch.float64) * reached).sum().item()

    def row(self, name: str, samples: int) -> LayerOperations:
        connections = self.connections / samples
        if self.quantum == 0:
            return LayerOperations(name, connections, 0.0, None, connections)
        quantum = self.quantum if math.isfinite(self.quantum) else None
        accumulates = self.weighted / quantum / samples if quantum else 0.0
        return LayerOperations(name, 0.0, accumulates, quantum, connections)


@dataclass
class _ProductCount:
    """Of (q kᵀ) v, in every head, sample and step; spikes are counted in the unit of what came."""

    quanta: list[float] = field(default_factory=lambda: [math.inf] * 3)
    """Of q, k and v; see `common_quantum`."""
    connections: float = 0.0
    pairs: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Σ of products where keys meet values, and where they meet queries."""
    spread: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """The second product in either case: Σ of queries times the values' features, of values times tokens."""

    def add(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Count one call; each is `[T, B, heads, features, N]`."""
        self.quanta = [common_quantum(x, unit) for x, unit in zip((q, k, v), self.quanta, strict=True)]
        q, k, v = (x.abs().double() for x in (q, k, v))
        features, tokens, values = q.shape[-2], q.shape[-1], v.shape[-2]
        heads = q[..., 0, 0].numel()
        if keys_meet_values(features, tokens, values):
            self.connections += heads * 2 * tokens * features * values
            self.pairs[0] += (k.sum(-2) * v.sum(-2)).sum().item()
            self.spread[0] += q.sum().item() * values
        else:
            self.connections += heads * tokens * tokens * (features + values)
            self.pairs[1] += (k.sum(-1) * q.sum(-1)).sum().item()
            self.spread[1] += v.sum().item() * tokens

    def row(self, name: str, samples: int) -> LayerOperations:
        connections = self.connections / samples
        if 0 in self.quanta:
            return LayerOperations(name, connections, 0.0, None, connections)
        q, k, v = self.quanta  # infinite where no spike came, which makes its sums 0
        total = self.pairs[0] / k / v + self.spread[0] / q + self.pairs[1] / k / q + self.spread[1] / v
        finest = min(self.quanta)
        quantum = finest if math.isfinite(finest) else None
        return LayerOperations(name, 0.0, total / samples, quantum, connections)


@dataclass
class _NeuronCount:
    spikes: list[float] = field(default_factory=list)
    """Per step."""
    outputs: int = 0
    """Neurons times samples."""

    @property
    def rates(self) -> list[float]:
        return [spikes / self.outputs for spikes in self.spikes]

    def add(self, output: Tensor, scale: int, first: int = 0) -> None:
        """Count steps `[K, B, ...]` of a sequence, from its step `first` on."""
        counts = (output.flatten(1).sum(1, dtype=torch.float64) * scale).tolist()
        self.spikes += [0.0] * (first + len(counts) - len(self.spikes))
        for step, count in enumerate(counts, first):
            self.spikes[step] += count
        if first == 0:
            self.outputs += output[0].numel()
