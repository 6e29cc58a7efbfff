"""The settings that every network gets, whatever its architecture, and the registry of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from a2sg.models.layers import TdBatchNorm
from a2sg.neuron import NEURONS
from a2sg.registry import Registry, check_options
from a2sg.surrogate import Asymmetric, Surrogate, create_surrogate

Entry = TypeVar("Entry", bound=Callable[..., nn.Module])

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
"""Networks. An entry is called as `entry(setting, **its own options)`."""

NEURON_OF: dict[str, str] = {}
"""The neurons that networks are published with, by the network's name."""


def register_model(name: str, neuron: str = "lif") -> Callable[[Entry], Entry]:
    """A decorator that makes a network known by `name` to `a2sg.create_model`, recipes and the command line.

    Put it on a function that is called with a `Setting`, then with the network's own options by name, and
    returns a module from images `[B, C, H, W]` or `[T, B, C, H, W]` to logits `[T, B, classes]`. `a2sg list
    models` shows the first line of its docstring.

    Args:
        name: of the network.
        neuron: a name of `a2sg.neuron.NEURONS`: what it is published with.

    Raises:
        InputError: if another network has that name.
    """
    add = MODELS.register(name)
    NEURON_OF[name] = neuron
    return add


@dataclass(frozen=True)
class Setting:
    """Sizes of input and output, the neuron and its normalisation."""

    num_classes: int
    steps: int
    """T."""
    in_channels: int
    size: tuple[int, int]
    """Height and width of the images."""
    neuron: Callable[..., nn.Module]
    """Makes a neuron; an option given here, as in `neuron(threshold=0.5)`, overrides the user's."""
    norm: Callable[..., TdBatchNorm] = TdBatchNorm
    """Makes the normalisation before a neuron, from channels, `threshold` and `alpha`."""


def neuron_factory(
    neuron: str | Callable[..., nn.Module],
    steps: int,
    surrogate: Surrogate | str | None,
    window: float | None,
    options: Mapping[str, Any] | None,
) -> Callable[..., nn.Module]:
    """The function that makes the neurons of a network; arguments as in `a2sg.create_model`.

    Raises:
        InputError: for an unknown name, or an option that the neuron does not take.
    """
    make: Callable[..., nn.Module]
    make = NEURONS.find(neuron) if isinstance(neuron, str) else neuron
    if isinstance(surrogate, str):
        surrogate = create_surrogate(surrogate)
    options = dict(options or {})
    shared: dict[str, Any] = {"steps": steps}
    # A neuron by name knows its own shape and window; the user's own gets ours.
    if surrogate is not None or make is neuron:
        shared["surrogate"] = surrogate or Asymmetric()
    if window is not None or make is neuron:
        shared["window"] = 1.0 if window is None else window
    name = neuron if isinstance(neuron, str) else getattr(neuron, "__name__", repr(neuron))
    check_options(f"neuron {name!r}", make, options, given={"steps", "surrogate", "window"})
    return partial(make, **shared, **options)
