"""The registry of neurons, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from a2sg.neuron.spiking import SpikingNeuron
from a2sg.registry import Registry

Kind = TypeVar("Kind", bound=type[SpikingNeuron])

NEURONS: Registry[type[SpikingNeuron]] = Registry("neuron")
"""Names that recipes and the command line use."""


def register_neuron(name: str) -> Callable[[Kind], Kind]:
    """A decorator: `a2sg.create_model`, recipes and the command line then know a neuron by `name`.

    Put it on a subclass of `SpikingNeuron` that takes `steps`, `surrogate` and `window` by name; it may have
    further options. `a2sg list neurons` shows the first line of its docstring.

    Raises:
        InputError: if another neuron has that name.
    """
    return NEURONS.register(name)
