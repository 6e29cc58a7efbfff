"""`Swap`: what `adapt` puts into a module, and how to remove it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from a2sg.adopt.count import StepCount
from a2sg.adopt.site import SpikeSite
from a2sg.errors import InputError, called
from a2sg.window.site import Site

MARK = "_a2sg_swap"
"""The attribute of an adapted module that holds its `Swap`."""

Fresh = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], bool]
"""Whether the state of a neuron, about to be called with these arguments, is that of a sequence's start."""


class Row(NamedTuple):
    """A layer that was found, and what makes its spikes."""

    layer: str
    """The name of its site."""
    module: str
    """The class of the module."""
    function: str
    """What makes its spikes: an attribute of the module, or a function that it calls."""
    fires: str
    """Where it fires: the thresholds, in terms of its argument."""
    calls: str
    """Which calls in the module's forward belong to the layer, from 1; empty if all do."""


class Swap:
    """The sites of one module, and the attributes that replace the module's own.

    They are put only into the instance's `__dict__`, so parameters, buffers, submodules and `state_dict` do
    not change.

    Args:
        site: the layer's windows; or those of all layers that the module serves, by the suffix to its name.
        attributes: values by name, the spike function first.
        fresh: recognises the start of a sequence by the neuron's state; None if it has no state.
        advance: whether a call of the module is a step (else a call of its spike function is).

    Attributes:
        fires: where the spike function fires, in words.
    """

    fires = "its threshold"

    def __init__(
        self,
        site: Site | Mapping[str, Site],
        attributes: dict[str, object],
        fresh: Fresh | None = None,
        advance: bool = False,
    ) -> None:
        self._sites = {"": site} if isinstance(site, Site) else dict(site)
        self.attributes = attributes
        self.begin = None if fresh is None else Begin(self._sites[""], fresh, advance)
        self._own: dict[str, object] = {}
        self._windows = [site.window.clone() for site in self._sites.values()]

    def sites(self, name: str) -> dict[str, Site]:
        """The sites by their layers' names, in a module of this name."""
        return {within(name, added): site for added, site in self._sites.items()}

    def rows(self, name: str, module: nn.Module) -> list[Row]:
        """What makes spikes, layer by layer."""
        kind = type(module).__name__
        return [
            Row(layer, kind, next(iter(self.attributes), ""), self.fires, "") for layer in self.sites(name)
        ]

    @property
    def counts(self) -> list[StepCount]:
        """The counters of calls in this module."""
        return [site.count for site in self._sites.values() if isinstance(site, SpikeSite)]

    def name(self, name: str) -> None:
        """Set the names of the layers in errors."""
        for layer, site in self.sites(name).items():
            if isinstance(site, SpikeSite):
                site.count.label = called(layer)

    def apply(self, module: nn.Module) -> None:
        """Put the attributes in place."""
        self._own = {name: vars(module)[name] for name in self.attributes if name in vars(module)}
        vars(module).update(self.attributes)
        vars(module)[MARK] = self
        if self.begin is not None:
            module.register_forward_pre_hook(self.begin, with_kwargs=True)

    def undo(self, module: nn.Module) -> None:
        """Restore the module."""
        del vars(module)[MARK]
        for name in self.attributes:
            vars(module).pop(name, None)
        vars(module).update(self._own)
        remove_hooks(module, Begin)
        with torch.no_grad():
            for site, window in zip(self._sites.values(), self._windows, strict=True):
                site.observer = None
                site.window.copy_(window)

    def misfit(self, module: nn.Module) -> str:
        """Anything that replaced an attribute while the module was adapted; empty if nothing did."""
        for name, value in self.attributes.items():
            if vars(module).get(MARK) is self and vars(module).get(name) is not value:
                return f"{name} was changed to {getattr(module, name, None)!r}"
        return ""


class Begin:
    """A forward pre-hook of a neuron whose state shows where a sequence starts."""

    def __init__(self, site: Site, fresh: Fresh, advance: bool) -> None:
        assert isinstance(site, SpikeSite)
        self.site = site
        self.fresh = fresh
        self.advance = advance

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            if self.fresh(module, args, kwargs):
                self.site.begin()
            if self.advance:
                self.site.count.next()


class Enter:
    """A forward pre-hook of the model that informs its layers that a forward begins."""

    def __init__(self, counts: list[StepCount]) -> None:
        self.counts = counts

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if getattr(module, "_is_replica", False):
            raise InputError(
                "an adapted model cannot run in nn.DataParallel, whose replicas would share each site's "
                "step counter: use nn.parallel.DistributedDataParallel, one process for each device"
            )
        if torch.is_grad_enabled():
            for count in self.counts:
                count.enter()


class Leave:
    """A forward hook of the model that drops the sequence of a forward that fails."""

    def __init__(self, counts: list[StepCount]) -> None:
        self.counts = counts

    def __call__(self, module: nn.Module, args: tuple[Any, ...], result: object) -> None:
        # torch gives None as the result of a forward that failed.
        if result is None and not torch.compiler.is_compiling() and sys.exc_info()[0] is not None:
            for count in self.counts:
                count.finish()


class Fire:
    """Replaces a spike function: its spikes in the forward pass, the site's surrogate in the backward pass.

    Args:
        original: makes spikes from its first argument, the potential as the site's gate reads it.
        site: the layer's windows.
    """

    def __init__(self, original: Callable[..., Tensor], site: SpikeSite) -> None:
        self.original = original
        self.site = site

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.site.fire(potential, lambda: self.original(potential, *args, **kwargs))


def within(name: str, part: str) -> str:
    """The name of a part of a module with this name; either may be ""."""
    return ".".join(filter(None, (name, part)))


def swaps(model: nn.Module) -> Iterator[tuple[str, nn.Module, Swap]]:
    """Name, module and swap of everything in `model` that is adapted."""
    for name, module in model.named_modules():
        swap = vars(module).get(MARK)
        if isinstance(swap, Swap):
            yield name, module, swap


def without_graph(state: object) -> bool:
    """Whether a neuron's state carries nothing over from earlier steps."""
    if not isinstance(state, Tensor):
        return True
    # torch.compile cannot read grad_fn. A leaf that requires a gradient is also the state of a start.
    return not state.requires_grad if torch.compiler.is_compiling() else state.grad_fn is None


def remove_hooks(module: nn.Module, *kinds: type) -> None:
    """Remove the hooks of these kinds, before and after the forward, from `module`."""
    both: list[dict[int, Any]] = [module._forward_pre_hooks, module._forward_hooks]
    for key in [key for hooks in both for key, hook in hooks.items() if isinstance(hook, kinds)]:
        for hooks in both:
            hooks.pop(key, None)
        module._forward_pre_hooks_with_kwargs.pop(key, None)
        module._forward_hooks_with_kwargs.pop(key, None)
        module._forward_hooks_always_called.pop(key, None)
