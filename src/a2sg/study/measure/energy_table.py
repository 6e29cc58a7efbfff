"""What a network's forward pass costs, compared with the same network with ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.energy import Energy, LayerOperations, measure
from a2sg.energy.meter import ACCUMULATE_PICOJOULES, MAC_PICOJOULES, batch_dimension
from a2sg.errors import require, require_positive
from a2sg.models.layers import Frames
from a2sg.neuron import SpikingNeuron
from a2sg.study.measure.objective import Forward
from a2sg.study.measure.probe import copied, find_sites
from a2sg.study.measure.result import Result

Sums = tuple[float, float, float, float, float, float]
"""MACs, accumulates and energy; the MACs and energy with ReLU; the ratio of the energies."""


@dataclass(frozen=True)
class LayerEnergy:
    """A synaptic layer, per sample.

    Attributes:
        layer: name of its module.
        macs: multiply-accumulates over all steps.
        accumulates: over all steps.
        picojoules: of both.
        relu_macs: of the same layer in the network with ReLU, which runs once.
        relu_picojoules: of those.
        ratio: picojoules over those with ReLU.
    """

    layer: str
    macs: float
    accumulates: float
    picojoules: float
    relu_macs: float
    relu_picojoules: float
    ratio: float


@dataclass(frozen=True)
class StepSpikes:
    """A spiking layer at one step.

    Attributes:
        layer: name of its module.
        step: from 1 to T.
        neurons: how many, per sample.
        rate: spikes per neuron; an integer spike counts its level.
        spikes: per sample.
    """

    layer: str
    step: int
    neurons: float
    rate: float
    spikes: float


@dataclass(frozen=True)
class EnergyTable(Result):
    """A network, and the same with ReLU, per sample. An estimate of arithmetic alone; see `EnergyMeter`.

    Attributes:
        layers: in the order of their first call.
        spikes: per spiking layer and step; only of this package's neurons.
        macs: of the spiking network.
        accumulates: likewise.
        picojoules: likewise.
        relu_macs: of the network with ReLU.
        relu_picojoules: likewise.
        ratio: picojoules over those with ReLU: below 1 the spiking network costs less.
        uncounted: what multiplied too and is in none of the numbers: "layer (function)".
    """

    layers: list[LayerEnergy]
    spikes: list[StepSpikes]
    macs: float
    accumulates: float
    picojoules: float
    relu_macs: float
    relu_picojoules: float
    ratio: float
    uncounted: list[str]


def energy_table(
    model: nn.Module,
    inputs: Tensor,
    *,
    forward: Forward | None = None,
    mac_picojoules: float = MAC_PICOJOULES,
    accumulate_picojoules: float = ACCUMULATE_PICOJOULES,
    real_input: bool = True,
) -> EnergyTable:
    """Operations and energy by layer, spikes by layer and step, and the same for the network with ReLU.

    In the network with ReLU every neuron is a ReLU, T = 1, and every connection is a MAC. It is built and
    run; its accuracy is not measured. For the (adapted) model of another library it is not built: each layer
    is assumed to run once per step, and 1/T of its connections are counted.

    Args:
        model: the network; runs in evaluation mode and is left as it was.
        inputs: images `[B, C, H, W]`, else `[T, B, ...]`, of which the network with ReLU gets the first step.
        forward: called with the model and the inputs, if it is not `model(inputs)`: a step loop.
        mac_picojoules: energy of a MAC.
        accumulate_picojoules: energy of an accumulate.
        real_input: whether the first layer reads real values; False for event data.

    Raises:
        InputError: for a constant that is not above 0, or a model without spiking neurons.
    """
    costs: dict[str, Any] = {"mac_picojoules": mac_picojoules, "accumulate_picojoules": accumulate_picojoules}
    for name, cost in costs.items():
        require_positive(name, cost)
    energy = measure(model, inputs, forward=forward, real_input=real_input, **costs)
    besides = f": {', '.join(energy.uncounted)} cannot be counted" if energy.uncounted else ""
    require(bool(energy.layers), f"the model has no linear layer and no convolution to count{besides}")
    relu = _relu_macs(model, inputs, forward, energy)

    def beside(one: Energy | LayerOperations, own: float, macs: float) -> Sums:
        theirs = macs * mac_picojoules
        return one.macs, one.accumulates, own, macs, theirs, own / theirs

    layers = []
    for layer in energy.layers:
        own = layer.macs * mac_picojoules + layer.accumulates * accumulate_picojoules
        layers.append(LayerEnergy(layer.name, *beside(layer, own, relu[layer.name])))
    spikes = [
        StepSpikes(layer, step, energy.neurons[layer], rate, rate * energy.neurons[layer])
        for layer, rates in energy.firing_rates.items()
        for step, rate in enumerate(rates, start=1)
    ]
    sums = beside(energy, energy.picojoules, sum(relu.values()))
    return EnergyTable(layers, spikes, *sums, energy.uncounted)


def relu_twin(model: nn.Module) -> nn.Module:
    """A copy of a network of this package's neurons, every one of them a ReLU, that runs one step.

    Raises:
        InputError: for a model without spiking neurons.
    """
    twin = copied(model)
    for module in list(twin.modules()):
        if isinstance(module, Frames):
            module.steps = 1
        for name, child in list(module._modules.items()):  # named_children() names a shared one once
            if isinstance(child, SpikingNeuron):
                setattr(module, name, nn.ReLU())
    return twin


def _relu_macs(model: nn.Module, inputs: Tensor, forward: Forward | None, energy: Energy) -> dict[str, float]:
    """MACs per sample of every layer with ReLU."""
    foreign = [site for site in find_sites(model).values() if isinstance(site, SpikeSite)]
    if foreign:
        return {layer.name: layer.connections / foreign[0].steps for layer in energy.layers}
    once = inputs if batch_dimension(inputs) == 0 else inputs[:1]
    found = measure(relu_twin(model), once, forward=forward)
    return {layer.name: layer.connections for layer in found.layers}
