"""Modules of one's own: ours, and any module that calls a plain spike function under a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from a2sg.adopt.gates import Distance
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Fire, Swap
from a2sg.errors import InputError, require
from a2sg.neuron import SpikingNeuron
from a2sg.surrogate import Surrogate

Functions = Mapping[type[nn.Module], "str | tuple[str, float]"]
"""By the class of a module: the attribute that holds its spike function; and where it fires, if not at 0."""


KINDS = ([str, float], [str, int])


def adopt(module: nn.Module, site: SpikeSite, name: str, threshold: float) -> Swap:
    """The swap of a module whose attribute `name` makes spikes where its first argument reaches `threshold`.

    Raises:
        InputError: if there is no such attribute, or it cannot be called.
    """
    original = getattr(module, name, None)
    if not callable(original):
        raise InputError(
            f"{type(module).__name__} has no spike function {name!r}: functions gives the name of what is "
            "called with the distance to the threshold, such as 'act' for self.act(u - threshold)"
        )
    fire = _Within(original, site, threshold) if threshold else Fire(original, site)
    return Swap(site, {name: fire})


class _Within(Fire):
    """A spike function that compares with its threshold itself."""

    def __init__(self, original: Any, site: SpikeSite, threshold: float) -> None:
        super().__init__(original, site)
        self.threshold = threshold

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.site.fire(potential - self.threshold, lambda: self.original(potential, *args, **kwargs))


def ours(module: SpikingNeuron | SpikeSite, steps: int, surrogate: Surrogate | None) -> Swap:
    """The swap of a neuron or site of this package, which keeps its surrogate unless told another.

    Raises:
        InputError: if its T is another.
    """
    if module.steps != steps:
        raise InputError(f"{type(module).__name__} has steps={module.steps}, but steps={steps} was asked for")
    if surrogate is None:
        return Swap(module, {})
    if isinstance(module, SpikeSite):
        return Swap(module, {"gate": Distance(surrogate)})
    return Swap(module, {"surrogate": surrogate})


def named(functions: Functions) -> dict[type[nn.Module], tuple[str, float]]:
    """Name and threshold of the spike function of every class in `functions`.

    Raises:
        InputError: if it is something else.
    """
    found = {}
    for kind, value in functions.items() if isinstance(functions, Mapping) else [(functions, None)]:
        pair = (value, 0.0) if isinstance(value, str) else value
        good = isinstance(kind, type) and isinstance(pair, tuple) and [type(part) for part in pair] in KINDS
        require(
            good and math.isfinite(pair[1]),
            "functions maps a class of modules to the name of an attribute, or to (name, threshold), such as "
            f"{{YourModule: 'act'}} or {{YourModule: ('act', 0.5)}}, not {kind!r}: {value!r}",
        )
        found[kind] = (pair[0], float(pair[1]))
    return found
