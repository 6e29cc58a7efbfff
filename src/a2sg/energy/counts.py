"""Counts of a layer, over all its calls."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from a2sg.devices import with_float64
from a2sg.energy.quantum import common_quantum
from a2sg.energy.synapses import Connection, fan_out
from a2sg.models.attention import keys_meet_values


@dataclass(frozen=True)
class LayerOperations:
    """Operations of one synaptic layer, per sample."""

    name: str
    macs: float
    accumulates: float
    quantum: float | None
    """Input value that counts as one spike; None if MACs are counted or there was no spike."""
    connections: float
    """Connections over all steps, used or not: the MACs if every input were a real number."""


class _Count(Protocol):
    def merge(self, other: Any) -> None:
        """Add the counts of another object for the same layer."""
        ...


@dataclass
class SynapseCount:
    """Counts for weights: one accumulate per spike and connection, or a MAC per connection."""

    quantum: float
    """Of all inputs so far; see `common_quantum`. Starts at 0 where MACs are to be counted."""
    connections: float = 0.0
    """Over all inputs: the MACs."""
    weighted: float = 0.0
    """Σ |input| · fan-out, in units of the input: the quantum may still get finer."""
    fan_outs: dict[Hashable, Tensor] = field(default_factory=dict)

    def add(self, call: Connection) -> None:
        """Count one call."""
        if call.key not in self.fan_outs:
            self.fan_outs[call.key] = fan_out(call)
        reached = self.fan_outs[call.key]
        values = call.values.reshape(-1, *call.shape).to(reached.device)
        self.connections += len(values) * reached.sum().item()
        self.quantum = common_quantum(values, self.quantum)
        if self.quantum > 0:
            self.weighted += (values.abs().sum(0, dtype=torch.float64) * reached).sum().item()

    def merge(self, other: SynapseCount) -> None:
        self.connections += other.connections
        self.weighted += other.weighted
        self.quantum = _common(self.quantum, other.quantum)

    def row(self, name: str, samples: int) -> LayerOperations:
        connections = self.connections / samples
        if self.quantum == 0:
            return LayerOperations(name, connections, 0.0, None, connections)
        quantum = self.quantum if math.isfinite(self.quantum) else None
        accumulates = self.weighted / quantum / samples if quantum else 0.0
        return LayerOperations(name, 0.0, accumulates, quantum, connections)


@dataclass
class ProductCount:
    """Counts for (q kᵀ) v, in every head, sample and step; spikes are counted in units of the input."""

    quanta: list[float] = field(default_factory=lambda: [math.inf] * 3)
    """Of q, k and v; see `common_quantum`."""
    connections: float = 0.0
    pairs: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Σ of products where keys meet values, and where they meet queries."""
    spread: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """The second product in both orders: Σ of queries times the values' features, of values times tokens."""

    def add(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Count one call; each is `[T, B, heads, features, N]`."""
        self.quanta = [common_quantum(x, unit) for x, unit in zip((q, k, v), self.quanta, strict=True)]
        q, k, v = (x.abs().to(with_float64(x.device)).double() for x in (q, k, v))
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

    def merge(self, other: ProductCount) -> None:
        self.quanta = [_common(*pair) for pair in zip(self.quanta, other.quanta, strict=True)]
        self.connections += other.connections
        self.pairs = [a + b for a, b in zip(self.pairs, other.pairs, strict=True)]
        self.spread = [a + b for a, b in zip(self.spread, other.spread, strict=True)]

    def row(self, name: str, samples: int) -> LayerOperations:
        connections = self.connections / samples
        if 0 in self.quanta:
            return LayerOperations(name, connections, 0.0, None, connections)
        q, k, v = self.quanta  # infinite if no spike came, which makes its sums 0
        total = self.pairs[0] / k / v + self.spread[0] / q + self.pairs[1] / k / q + self.spread[1] / v
        finest = min(self.quanta)
        quantum = finest if math.isfinite(finest) else None
        return LayerOperations(name, 0.0, total / samples, quantum, connections)


@dataclass
class NeuronCount:
    """Of a spiking layer."""

    spikes: list[float] = field(default_factory=list)
    """Per step."""
    outputs: int = 0
    """Neurons times samples."""

    @property
    def rates(self) -> list[float]:
        return [spikes / self.outputs for spikes in self.spikes]

    def add(self, output: Tensor, scale: int, first: int = 0) -> None:
        """Count steps `[K, B, ...]` of a sequence, from its step `first` on."""
        output = output.to(with_float64(output.device))
        counts = (output.flatten(1).sum(1, dtype=torch.float64) * scale).tolist()
        self.merge(NeuronCount([0.0] * first + counts, 0 if first else output[0].numel()))

    def merge(self, other: NeuronCount) -> None:
        self.spikes = [a + b for a, b in zip_longest(self.spikes, other.spikes, fillvalue=0.0)]
        self.outputs += other.outputs


def _common(one: float, other: float) -> float:
    """The common quantum of two sets of values, from that of each; see `common_quantum`."""
    if one == 0 or math.isinf(one):
        return other if one else one
    return common_quantum(torch.tensor([one], dtype=torch.float64), other)


Count = TypeVar("Count", bound=_Count)


def merged(counts: Sequence[dict[str, Count]]) -> dict[str, Count]:
    """Counts by layer, those of the same layer added."""
    found: dict[str, Count] = {}
    for one in counts:
        for name, count in one.items():
            if name in found:
                found[name].merge(count)
            else:
                found[name] = count
    return found
