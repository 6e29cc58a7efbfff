"""This package's modules, and any module that calls a plain spike function under a name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from a2sg.adopt.gates import Distance, gate_of
from a2sg.adopt.levels import Levels, Unclear, find_levels
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Fire, Swap
from a2sg.errors import InputError
from a2sg.neuron import SpikingNeuron
from a2sg.surrogate import Surrogate

Where = float | Sequence[float]
Functions = Mapping[type[nn.Module] | type[Function], str | tuple[str, Where] | Where]
"""By the class of a module: the attribute that holds its spike function; and where it fires, if not at 0.

By an `autograd.Function`: where it fires.
"""


def adopt(module: nn.Module, site: SpikeSite, name: str, levels: Levels) -> Swap:
    """The swap of a module whose attribute `name` makes spikes where its first argument reaches `levels`.

    Raises:
        InputError: if there is no such attribute, or it cannot be called.
    """
    original = getattr(module, name, None)
    if not callable(original):
        raise InputError(
            f"{type(module).__name__} has no spike function {name!r}: functions gives the name of what is "
            "called with the distance to the threshold, such as 'act' for self.act(u - threshold). If it is "
            "a global, or made in forward, leave it out and pass example=batch, which finds it"
        )
    swap = Swap(site, {name: _Named(original, site, name, levels)})
    swap.fires = str(levels)
    return swap


class _Named(Fire):
    """A spike function that fires where the user said, which its first call checks."""

    def __init__(self, original: Any, site: SpikeSite, name: str, levels: Levels) -> None:
        super().__init__(original, site)
        self.name = name
        self.levels = levels
        self.looked = False
        site.gate, self.threshold = gate_of(site.surrogate, levels)

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self.looked and not torch.compiler.is_compiling():
            found = find_levels(lambda u: self.original(u, *args, **kwargs), potential)
            agree(f"{self.site.count.label}: {self.name}", self.levels, found)
            self.looked = True
        distance = potential - self.threshold if self.threshold else potential
        return self.site.fire(distance, lambda: self.original(potential, *args, **kwargs))


def agree(what: str, said: Levels, found: Levels | str) -> None:
    """Raise `InputError` if a spike function is known to behave differently from what the user said."""
    if isinstance(found, Levels) and not found.near(said):
        raise InputError(
            f"functions says that {what} fires at {said}, but it fires at {found}: correct functions, or "
            "leave it out and pass example=batch, which finds the threshold"
        )
    if isinstance(found, str) and not isinstance(found, Unclear):
        does = found or "has no levels"
        raise InputError(
            f"functions says that {what} fires at {said}, but it {does}: name a function that gives 0 below "
            "a threshold and 1 above"
        )


def ours(module: SpikingNeuron | SpikeSite, steps: int, surrogate: Surrogate | None) -> Swap:
    """The swap of a neuron or site of this package, which keeps its surrogate unless another is given.

    Raises:
        InputError: if its T differs.
    """
    if module.steps != steps:
        raise InputError(f"{type(module).__name__} has steps={module.steps}, but steps={steps} was asked for")
    if surrogate is None:
        return Swap(module, {})
    if isinstance(module, SpikeSite):
        return Swap(module, {"gate": Distance(surrogate)})
    return Swap(module, {"surrogate": surrogate})


@dataclass
class Named:
    """The spike functions that the user names.

    Attributes:
        modules: by class, the attribute that makes spikes, and where.
        functions: by `autograd.Function`, where it makes spikes.
    """

    modules: dict[type[nn.Module], tuple[str, Levels]] = field(default_factory=dict)
    functions: dict[type[Function], Levels] = field(default_factory=dict)


def named(functions: Functions) -> Named:
    """Spike functions as the user names them.

    Raises:
        InputError: if they have another form.
    """
    found = Named()
    for kind, value in functions.items() if isinstance(functions, Mapping) else [(functions, None)]:
        attribute, levels = _attribute(value), _levels(value)
        if isinstance(kind, type) and issubclass(kind, nn.Module) and attribute:
            found.modules[kind] = attribute
        elif isinstance(kind, type) and issubclass(kind, Function) and levels:
            found.functions[kind] = levels
        else:
            said = f"{kind!r}: {value!r}" if isinstance(functions, Mapping) else repr(functions)
            raise InputError(
                "functions maps a class of modules to the name of an attribute, or to (name, threshold), "
                "such as {YourModule: 'act'} or {YourModule: ('act', 0.5)}, with a list of thresholds for "
                f"several levels; or an autograd.Function to where it fires, not {said}"
            )
    return found


def _attribute(value: Any) -> tuple[str, Levels] | None:
    """An attribute and where it fires, by default 0; None for anything else."""
    name, where = value if isinstance(value, tuple) and len(value) == 2 else (value, 0.0)
    levels = _levels(where)
    return (name, levels) if isinstance(name, str) and levels else None


def _levels(where: Any) -> Levels | None:
    """Levels of unit height at one threshold or several, ascending; None for anything else."""
    thresholds = where if isinstance(where, list | tuple) else [where]
    good = all(type(number) in (int, float) and math.isfinite(number) for number in thresholds)
    if not good or not thresholds or sorted(set(thresholds)) != list(thresholds):
        return None
    return Levels(tuple(map(float, thresholds)), (1.0,) * len(thresholds))
