"""Functions for all neurons of a model at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from a2sg.kernels import Work
from a2sg.neuron.spiking import Record, SpikingNeuron
from a2sg.window.site import require_module


def share_work(model: nn.Module) -> Work:
    """Let all neurons of `model` count their work together: `auto` compiles them once they have done enough.

    Returns:
        The counter that they share from now on; it starts at 0.
    """
    work = Work()
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.work = work
    return work


@contextmanager
def recording(model: nn.Module) -> Iterator[dict[str, list[Record]]]:
    """Collect potentials and spikes of every neuron in `model` while the context lasts.

    Yields a dict from module name to one `Record` per forward pass. The tensors are part of the graph, so a
    loss may use them. Of nested contexts, the innermost collects.
    """
    require_module(model)
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, SpikingNeuron)}
    records: dict[str, list[Record]] = {name: [] for name in neurons}
    outer = {name: neuron._record for name, neuron in neurons.items()}
    try:
        for name, neuron in neurons.items():
            neuron._record = records[name]
        yield records
    finally:
        for name, neuron in neurons.items():
            neuron._record = outer[name]
