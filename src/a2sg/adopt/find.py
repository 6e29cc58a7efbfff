"""Finds what makes spikes in a model; the file for its library then says how to adapt it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from a2sg.adopt import norse, plain, sinabs, snntorch, spikingjelly
from a2sg.adopt.levels import Levels
from a2sg.adopt.plain import Functions
from a2sg.adopt.seen import seen
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Swap, within
from a2sg.adopt.watch import Example
from a2sg.errors import InputError, called, require
from a2sg.neuron import SpikingNeuron
from a2sg.registry import Registry
from a2sg.surrogate import Asymmetric, Surrogate
from a2sg.window.site import Site

Adopt = Callable[[nn.Module, SpikeSite], Swap | str | None]
Host = TypeVar("Host", bound=Adopt)

HOSTS: Registry[Adopt] = Registry("host library")
"""Hosts by the package that a module's class, or one of its bases, comes from. None is imported here."""


def register_host(package: str) -> Callable[[Host], Host]:
    """A decorator that makes the neurons of a library known to `a2sg.adapt`.

    Put it on a function that is called with a module whose class, or one of its bases, comes from `package`,
    and with a site for it. The function returns the swap that gives the module the site's windows; or, for a
    module that makes spikes but cannot be adapted, a text that says why; or None for a module that makes no
    spikes. Nothing is changed until all modules have been found. `a2sg list hosts` shows the first line of
    the function's docstring.

    Raises:
        InputError: if that package has another one.
    """
    return HOSTS.register(package)


register_host("spikingjelly")(spikingjelly.adopt)
register_host("snntorch")(snntorch.adopt)
register_host("norse")(norse.adopt)
register_host("sinabs")(sinabs.adopt)

Window = float | Sequence[float] | Tensor


@dataclass
class Found:
    """Everything found in a model, by module name."""

    swaps: dict[str, tuple[nn.Module, Swap]] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)
    """Why modules that make spikes cannot be adapted."""

    def has(self, name: str) -> bool:
        """Whether the spikes of a module, or of a module that contains it, have been found already."""
        functions = [within(layer, own) for layer, (_, swap) in self.swaps.items() for own in swap.attributes]
        parts = (*functions, *self.left_alone)
        return name in self.swaps or any(f"{name}.".startswith(f"{part}.") for part in parts)

    @property
    def sites(self) -> dict[str, Site]:
        """All sites, by layer name."""
        return {
            layer: site for name, (_, swap) in self.swaps.items() for layer, site in swap.sites(name).items()
        }


def find(
    model: nn.Module,
    steps: int,
    surrogate: Surrogate | None,
    window: Window | None,
    functions: Functions,
    example: Example | None,
    groups: int | None,
) -> Found:
    """A swap for every module that makes spikes; nothing is changed yet.

    Raises:
        InputError: naming the layer.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def site() -> SpikeSite:
        made = SpikeSite(
            steps,
            surrogate=surrogate or Asymmetric(),
            window=1.0 if window is None else window,
            groups=groups,
        )
        return made.to(device)

    site()  # so that a wrong option is reported as such, not as a layer's fault
    named = plain.named(functions)
    found = Found()
    for name, module in model.named_modules():
        try:
            swap = _swap(module, site, steps, surrogate, named.modules)
        except InputError as error:
            raise InputError(f"{called(name)}: {error}") from None
        if isinstance(swap, str):
            found.left_alone[name] = swap
        elif swap is not None:
            found.swaps[name] = module, swap
    for kind in named.modules:
        used = any(isinstance(module, kind) for module, _ in found.swaps.values())
        require(used, f"functions names {kind.__name__}, but the model has no such module")
    if example is None:
        names = ", ".join(function.__name__ for function in named.functions)
        require(
            not names, f"functions names {names}: pass example=batch, which shows where a function is called"
        )
    else:
        swaps, left = seen(model, example, steps, site, named.functions, found.has)
        found.left_alone |= left
        modules = dict(model.named_modules())
        both = found.swaps | {name: (modules[name], swap) for name, swap in swaps.items()}
        found.swaps = {name: both[name] for name in modules if name in both}
    return found


def _swap(
    module: nn.Module,
    site: Callable[[], SpikeSite],
    steps: int,
    surrogate: Surrogate | None,
    named: dict[type[nn.Module], tuple[str, Levels]],
) -> Swap | str | None:
    for kind, (name, levels) in named.items():
        if isinstance(module, kind):
            return plain.adopt(module, site(), name, levels)
    if isinstance(module, SpikingNeuron | SpikeSite):
        return plain.ours(module, steps, surrogate)
    for base in type(module).__mro__:
        host = HOSTS.get(base.__module__.partition(".")[0])
        if host is not None:
            return host(module, site())
    return None
