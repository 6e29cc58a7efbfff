"""A NIR graph as a network that can be trained."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_choice, require_count, told
from a2sg.export.conventions import READERS, Convention
from a2sg.export.graph_file import read_graph
from a2sg.export.nodes import layer_of

if TYPE_CHECKING:
    import nir

LONGEST = 100_000
"""Steps that the metadata of a graph may ask for."""


class Graph(nn.Module):
    """Layers, each of which reads the sum of what others give.

    Args:
        layers: by name, each after its sources; the last is the output.
        sources: the names of the layers that each reads; none is the input.
    """

    def __init__(self, layers: Mapping[str, nn.Module], sources: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.sources = dict(sources)

    def forward(self, x: Tensor) -> Tensor:
        """The output `[T, B, ...]` for an input `[T, B, ...]`."""
        values: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            read = [values[source] for source in self.sources[name]]
            values[name] = layer(reduce(operator.add, read) if read else x)
        return values[name]


def from_nir(
    graph: nir.NIRGraph | str | Path,
    steps: int | None = None,
    *,
    reader: str | Convention | None = None,
    **options: Any,
) -> Graph:
    """A trainable network that computes what a NIR graph describes, with neurons of this package.

    For a graph that `to_nir` wrote, it gives the outputs of the original network up to rounding: a potential
    within rounding error of the threshold may fire in only one of them.

    Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications, 2024.

    Args:
        graph: without loops, with one input and one output; or the path of a file with one, which need not be
            trusted: a separate process reads it first.
        steps: T; None takes it from the graph's metadata.
        reader: how its equations become steps: a name of `READERS`, or a convention. None takes it from the
            metadata, and `"nir"` for a graph without.
        **options: of the neurons, such as `surrogate` or `window`; not `reset`, which the reader says.

    Returns:
        A module over `[T, B, ...]`, in float64 if the weights of the graph are.

    Raises:
        InputError: for a node that is damaged, or for which there is no layer here; the message names it.
            Also for a file that is damaged or does not hold a graph.
        ModuleNotFoundError: if the package nir is not installed (`a2sg[export]`).
    """
    import nir

    if isinstance(graph, (str, Path)):
        graph = read_graph(Path(graph))
    require(
        isinstance(graph, nir.NIRGraph),
        f"the graph must be a nir.NIRGraph, such as nir.read(path) returns, not a {type(graph).__name__}",
    )
    found = graph.metadata.get("steps") if steps is None else steps
    require(found is not None, "steps must be given: the graph's metadata does not say how many there are")
    require(np.ndim(found) == 0, f"steps must be a whole number, not {type(found).__name__}")
    most = LONGEST if steps is None else None
    count = require_count("steps", int(found) if isinstance(found, np.integer) else found, most=most)
    with told("the metadata of the graph is damaged"):
        convention = _convention(graph.metadata, reader)
    for kind in (nir.Input, nir.Output):
        ends = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
        require(len(ends) == 1, f"a graph must have one {kind.__name__} to be read, not {len(ends)}: {ends}")
    with told("the edges of the graph are damaged"):
        read = _sources(graph)
        order = _in_order(read, last=ends[0])
    names = _names(graph.nodes)
    weights = (getattr(node, "weight", None) for node in graph.nodes.values())
    double = any(getattr(weight, "dtype", None) == np.float64 for weight in weights)
    layers, sources = {}, {}
    for name in order:
        node = graph.nodes[name]
        what = f"node {name!r} (nir.{type(node).__name__}) cannot be read"
        with told(what):
            try:
                layer = layer_of(node, count, convention, torch.float64 if double else torch.float32, options)
            except InputError as error:
                raise InputError(f"{what}: {error}") from None
        layers[names[name]] = layer
        sources[names[name]] = [names[source] for source in read[name]]
    return Graph(layers, sources)


def _convention(metadata: Mapping[str, Any], reader: str | Convention | None) -> Convention:
    """The requested reader, if it is the graph's; or the graph's, if none was requested."""
    said = {name: metadata[name] for name in ("dt", "step", "reset") if name in metadata}
    if isinstance(reader, str):
        reader = READERS[require_choice("reader", reader, READERS)]
    if reader is None:
        known = (one for one in READERS.values() if one.facts.items() >= said.items())
        reader = next(known, None)
        require(
            reader is not None,
            f"no reader in a2sg.export.READERS has the steps of this graph, {_words(said)}: pass the "
            "convention that it was written for as reader=",
        )
        assert reader is not None
    wrong = {name: value for name, value in said.items() if reader.facts[name] != value}
    require(not wrong, f"the graph was written for another reader: its metadata says {_words(wrong)}")
    return reader


def _words(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _names(nodes: Mapping[str, Any]) -> dict[str, str]:
    """Names that modules may have, by those of nodes."""
    names: dict[str, str] = {}
    taken = set(dir(nn.ModuleDict()))  # such as "keys"
    for node in nodes:
        name = node.replace(".", "_") or "_"
        while name in taken:
            name += "_"
        taken.add(name)
        names[node] = name
    return names


def _sources(graph: nir.NIRGraph) -> dict[str, list[str]]:
    """What each node reads."""
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    return sources


def _in_order(sources: Mapping[str, Sequence[str]], last: str) -> list[str]:
    """The nodes, each after its sources, and the output last."""
    place = {name: at for at, name in enumerate(sources)}
    sorter = TopologicalSorter(sources)
    try:
        sorter.prepare()
    except CycleError as error:
        raise InputError(
            f"the graph has a loop, {' -> '.join(error.args[1])}: recurrent connections cannot be read, "
            "build them with a2sg.Recurrent"
        ) from None
    done: list[str] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        done += sorted(ready, key=place.__getitem__)
        sorter.done(*ready)
    return [name for name in done if name != last] + [last]
