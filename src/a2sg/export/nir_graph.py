"""A network as a NIR graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from a2sg._version import __version__
from a2sg.errors import InputError, require, require_choice, require_count
from a2sg.export.conventions import READERS, Convention
from a2sg.export.layers import visit
from a2sg.export.wiring import Wire, Wiring
from a2sg.files import whole
from a2sg.models.layers import Frames
from a2sg.modes import in_mode
from a2sg.neuron import SpikingNeuron
from a2sg.window.site import require_module

if TYPE_CHECKING:
    import nir


def to_nir(
    model: nn.Module,
    shape: Sequence[int] | None = None,
    *,
    reader: str | Convention = "nir",
    facts: Mapping[str, str] | None = None,
) -> nir.NIRGraph:
    """A network, in evaluation mode, as a NIR graph.

    Batch norm is folded into the weights before it. A LIF becomes `nir.LIF`, one without a leak `nir.IF`, and
    a sum becomes edges that meet. Step t of the graph is step t of the network, and so is its output. NIR
    itself has no steps: the graph's `metadata` says how its equations become steps.

    Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications, 2024.

    Args:
        model: of `a2sg.create_model`, or of a2sg neurons, linear layers, convolutions, batch norm, average
            pools and `nn.Flatten`, over `[T, B, ...]`: in `nn.Sequential`, or in a class whose forward pass
            calls them. Such a pass is followed by `torch.fx`; between layers it may add, multiply with a
            number, `flatten` and `unflatten`. It is left as it is.
        shape: of one sample at one step, such as `(C, H, W)`; None is what the model says it takes.
        reader: which library will read it: a name of `READERS`, or a convention.
        facts: further metadata, by name.

    Returns:
        A graph, for `write_nir` or a library's importer. Weights are float32, of a float64 model float64.

    Raises:
        InputError: for a layer that NIR, or this reader of it, cannot express; the message names it.
        ModuleNotFoundError: if the package nir is not installed (`a2sg[export]`).
    """
    import nir

    if isinstance(reader, str):
        reader = READERS[require_choice("reader", reader, READERS)]
    require_module(model)
    sample = _shape(model, shape)
    wiring = Wiring(reader, np.float64 if _is_double(model) else np.float32)
    with in_mode(model, training=False), torch.no_grad():
        start = wiring.add("input", nir.Input(input_type=np.array(sample)), Wire((), sample))
        wiring.finish("output", visit(wiring, model, "", start, leading=2))
    steps = {module.steps for module in model.modules() if isinstance(module, SpikingNeuron | Frames)}
    require(bool(steps), "found no a2sg neurons in the model, such as a2sg.LIF, from which to read T")
    require(len(steps) == 1, f"all layers must have the same number of steps, not {sorted(steps)}")
    metadata: dict[str, Any] = {
        "made_by": f"a2sg {__version__}",
        "steps": steps.pop(),
        **reader.facts,
        "output": "of every step",
        **(facts or {}),
    }
    try:
        return nir.NIRGraph(wiring.nodes, wiring.edges, metadata=metadata)
    except ValueError as error:
        raise InputError(f"the package nir refuses this network: {error}") from error


def write_nir(graph: nir.NIRGraph, path: Path) -> None:
    """Write a graph to a NIR file (HDF5), completely or not at all."""
    import nir

    with whole(path) as part:
        nir.write(part, graph)


def _shape(model: nn.Module, shape: Sequence[int] | None) -> tuple[int, ...]:
    frames = [module for module in model.modules() if isinstance(module, Frames) and module.size is not None]
    if shape is None:
        require(bool(frames), "shape must be that of one sample, such as (3, 32, 32): this model takes any")
        size = frames[0].size
        assert size is not None
        return frames[0].channels, *size
    return tuple(require_count("shape", int(side)) for side in shape)


def _is_double(model: nn.Module) -> bool:
    return any(parameter.dtype == torch.float64 for parameter in model.parameters())
