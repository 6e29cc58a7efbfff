"""What every network is told, whatever its architecture, and the registry of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from a2sg.errors import require_choice
from a2sg.neuron import NEURONS
from a2sg.registry import Registry, check_options
from a2sg.surrogate import Asymmetric, Surrogate, create_surrogate

MODELS = Registry("model")
"""Networks. An entry is called as `entry(setting, **its own options)`."""


@dataclass(frozen=True)
class Setting:
    """Sizes of input and output, and the neuron."""

    num_classes: int
    steps: int
    """T."""
    in_channels: int
    image_size: int
    """Height and width of the images."""
    neuron: Callable[..., nn.Module]
    """Makes a neuron; an option given here, as in `neuron(threshold=0.5)`, overrules the user's."""


def neuron_factory(
    neuron: str | Callable[..., nn.Module],
    steps: int,
    surrogate: Surrogate | str | None,
    window: float,
    options: Mapping[str, Any] | None,
) -> Callable[..., nn.Module]:
    """What makes the neurons of a network; arguments as in `a2sg.create_model`.

    Raises:
        InputError: for an unknown name, or an option that the neuron does not take.
    """
    make: Callable[..., nn.Module]
    make = NEURONS[require_choice("neuron", neuron, NEURONS)] if isinstance(neuron, str) else neuron
    if surrogate is None:
        surrogate = Asymmetric()
    elif isinstance(surrogate, str):
        surrogate = create_surrogate(surrogate)
    options = dict(options or {})
    shared: dict[str, Any] = {"steps": steps, "surrogate": surrogate, "window": window}
    name = neuron if isinstance(neuron, str) else getattr(neuron, "__name__", repr(neuron))
    check_options(f"neuron {name!r}", make, options, given=set(shared))
    return partial(make, **shared, **options)
