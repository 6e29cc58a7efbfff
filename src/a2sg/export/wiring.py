"""A NIR graph under construction: nodes, and wires between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2sg.errors import require
from a2sg.export.conventions import Convention


@dataclass(frozen=True)
class Wire:
    """The signal between two layers: the sum of its sources' outputs, times `gain`."""

    sources: tuple[str, ...]
    """Nodes."""
    shape: tuple[int, ...]
    """Of one sample at one step."""
    gain: float = 1.0
    """A factor that the next layer must apply, such as 1/4 if a 2x2 sum stands for a mean."""
    shared: bool = False
    """Whether others read the sources too, now or later: then nothing may fold into them."""


class Wiring:
    """Nodes and edges.

    Args:
        convention: of the reader.
        dtype: of the weights in `finish`; until then they are float64, as more may fold into them.
    """

    def __init__(self, convention: Convention, dtype: type[np.floating[Any]]) -> None:
        self.convention = convention
        self.dtype = dtype
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self._weights: set[str] = set()

    def add(self, layer: str, node: Any, wire: Wire, shape: tuple[int, ...] | None = None) -> Wire:
        """Add a node after `wire`, named after its layer.

        Returns:
            The wire after it, with the same shape if none is given.
        """
        name = layer
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.edges += [(source, name) for source in wire.sources]
        return Wire((name,), wire.shape if shape is None else shape)

    def add_weights(self, layer: str, node: Any, wire: Wire, shape: tuple[int, ...]) -> Wire:
        """Add a node with `weight` and `bias`, float64, which absorbs the wire's gain."""
        node.weight = node.weight * wire.gain
        behind = self.add(layer, node, wire, shape)
        self._weights.update(behind.sources)
        return behind

    def fold(self, wire: Wire, scale: NDArray[Any] | float, shift: NDArray[Any] | float) -> bool:
        """Scale and shift the signal of `wire`, per channel, by changing the weights that produce it.

        Returns:
            Whether that was possible: not if it comes from anything else, or is shared.
        """
        if wire.gain != 1 or wire.shared or not self._weights.issuperset(wire.sources):
            return False
        for number, source in enumerate(wire.sources):
            node = self.nodes[source]
            node.weight = node.weight * np.reshape(scale, (-1, *[1] * (node.weight.ndim - 1)))
            node.bias = node.bias * scale + (shift if number == 0 else 0.0)
        return True

    def join(self, layer: str, first: Wire, second: Wire) -> Wire:
        """The sum of two wires: both lead to the next node."""
        if first.gain != second.gain or set(first.sources) & set(second.sources):
            first, second = self.scaled(f"{layer}.first", first), self.scaled(f"{layer}.second", second)
        return replace(first, sources=first.sources + second.sources, shared=first.shared or second.shared)

    def flat(self, layer: str, wire: Wire) -> Wire:
        """The wire after a node that flattens a sample to a vector, unless it is one already."""
        import nir

        if len(wire.shape) == 1:
            return wire
        node = nir.Flatten(input_type=np.array(wire.shape), start_dim=0, end_dim=-1)
        return replace(self.add(layer, node, wire, (int(np.prod(wire.shape)),)), gain=wire.gain)

    def scaled(self, layer: str, wire: Wire) -> Wire:
        """The wire after a node that multiplies by the gain."""
        import nir

        return self.add(layer, nir.Scale(scale=np.full(wire.shape, wire.gain, self.dtype)), wire)

    def finish(self, layer: str, wire: Wire) -> None:
        """End at an output."""
        import nir

        if wire.gain != 1:
            wire = self.scaled(f"{layer}.scale", wire)
        self.add(layer, nir.Output(output_type=np.array(wire.shape)), wire)
        for name in self._weights:
            node = self.nodes[name]
            node.weight, node.bias = node.weight.astype(self.dtype), node.bias.astype(self.dtype)
        require(
            all(np.isfinite(self.nodes[name].weight).all() for name in self._weights),
            "weights hold NaN or infinity",
        )
