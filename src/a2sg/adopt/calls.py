"""The swap of a module that calls spike functions by any name: the order of calls gives each its site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from a2sg.adopt.count import StepCount, Turns
from a2sg.adopt.gates import gate_of
from a2sg.adopt.intercept import intercepting, name_of
from a2sg.adopt.levels import Levels
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Row, Swap
from a2sg.errors import InputError, called


@dataclass(frozen=True)
class Spikes:
    """A spike function as a module calls it.

    Attributes:
        function: its name, with its module.
        levels: where it fires.
        decides: the arguments, by position, that decide where it fires.
    """

    function: str
    levels: Levels
    decides: tuple[tuple[int, Any], ...] = ()

    def __str__(self) -> str:
        return self.function.rpartition(".")[2]


class Calls(Swap):
    """Sites for the spike functions that a module calls.

    Args:
        module: calls them.
        spikes: the function that each layer calls.
        turns: the layer of each call in one forward of the model, from 0; None: leave the call unchanged.
        sites: one for each layer.
    """

    def __init__(
        self,
        module: nn.Module,
        spikes: Sequence[Spikes],
        turns: Sequence[int | None],
        sites: Sequence[SpikeSite],
    ) -> None:
        names = [""] if len(spikes) == 1 else [f"{one}.{at}" for at, one in enumerate(spikes, start=1)]
        layers = [_Layer(site, one) for site, one in zip(sites, spikes, strict=True)]
        self.run = _Run(module, layers, turns)
        super().__init__(dict(zip(names, sites, strict=True)), {"forward": self.run})

    def rows(self, name: str, module: nn.Module) -> list[Row]:
        """What makes spikes, layer by layer."""
        return [
            row._replace(function=str(layer.spikes), fires=str(layer.spikes.levels), calls=self.run.calls(at))
            for at, (row, layer) in enumerate(zip(super().rows(name, module), self.run.layers, strict=True))
        ]

    @property
    def counts(self) -> list[StepCount]:
        """The steps of each layer, and the turns."""
        return super().counts + ([] if self.run.count is None else [self.run.count])

    def name(self, name: str) -> None:
        """Set the names of the layers in errors."""
        super().name(name)
        if self.run.count is not None:
            self.run.count.label = called(name)


class _Layer:
    """The calls of one layer."""

    def __init__(self, site: SpikeSite, spikes: Spikes) -> None:
        self.site = site
        self.spikes = spikes
        site.gate, self.threshold = gate_of(site.surrogate, spikes.levels)

    def fire(self, name: str, args: tuple[Any, ...], apply: Callable[..., Tensor]) -> Tensor:
        """The spikes of one step, made by `apply`."""
        label = self.site.count.label
        if name != self.spikes.function:
            raise InputError(f"{label} called {name}, not {self.spikes.function} {AGAIN}")
        for at, value in self.spikes.decides:
            now = args[at] if at < len(args) else None
            if now != value:
                raise InputError(f"{label}: argument {at + 1} of {name} is {now!r}, not {value!r} {AGAIN}")
        potential = args[0] - self.threshold if self.threshold else args[0]
        return self.site.fire(potential, partial(apply, *args))


LISTED = 6
"""The most calls of a layer that a table lists."""
AGAIN = "as in the example: undo with revert(), and adapt the model as it is now"


class _Run:
    """Wraps a module's forward, to see the spike functions that it calls."""

    def __init__(self, module: nn.Module, layers: list[_Layer], turns: Sequence[int | None]) -> None:
        self.module = module
        self.layers = layers
        self.turns = turns
        self.names = {layer.spikes.function for layer in layers}
        self.own = vars(module).get("forward")
        self.count = None if set(turns) == {0} else Turns(len(turns))

    def calls(self, layer: int) -> str:
        """Which calls belong to a layer, from 1; "" if all do."""
        if self.count is None:
            return ""
        mine = [str(at) for at, turn in enumerate(self.turns, start=1) if turn == layer]
        return ", ".join(mine if len(mine) <= LISTED else [*mine[: LISTED - 2], "...", mine[-1]])

    def __call__(self, *args: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():
            # The compiler would trace into the functions, and use the library's backward pass.
            from a2sg.adopt.untraced import untraced

            return untraced(self._forward, *args, **named)
        return self._forward(*args, **named)

    def _forward(self, *args: Any, **named: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            raise InputError(
                "torch.func hides the spike functions that were found with example=: name them with "
                "functions=, or use a2sg.spike instead"
            )
        forward = self.own or partial(type(self.module).forward, self.module)
        with intercepting(self._see):
            return forward(*args, **named)

    def _see(self, function: type[Function], args: tuple[Any, ...], apply: Callable[..., Any]) -> Any:
        name = name_of(function)
        potential = args[0] if args else None
        if name not in self.names or not isinstance(potential, Tensor) or not torch.is_grad_enabled():
            return apply(*args)
        turn: int | None = 0
        if self.count is not None:
            turn = self.turns[self.count.next()]
            self.count.live = self.count.live or potential.requires_grad
        return apply(*args) if turn is None else self.layers[turn].fire(name, args, apply)
