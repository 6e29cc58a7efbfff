"""What `adapt` puts into a module, and how it is taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.window.site import Site

MARK = "_a2sg_swap"
"""The attribute of an adapted module that holds its `Swap`."""

Fresh = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], bool]
"""Whether the state of a neuron, about to be called with these arguments, is that of a sequence's begin."""


class Swap:
    """The site of one module, and the attributes that stand before the module's own.

    They go into the instance's `__dict__` alone: parameters, buffers and submodules stay what they are, and
    so does `state_dict`.

    Args:
        site: the layer's windows.
        attributes: values by name.
        fresh: tells a sequence's begin from the neuron's state; None if it has none to tell from.
        advance: whether a call of the module is a step (else a call of its spike function is).
    """

    def __init__(
        self, site: Site, attributes: dict[str, object], fresh: Fresh | None = None, advance: bool = False
    ) -> None:
        self.site = site
        self.attributes = attributes
        self.begin = None if fresh is None else Begin(site, fresh, advance)
        self._own: dict[str, object] = {}
        self._window = site.window.clone()

    def apply(self, module: nn.Module) -> None:
        """Put the attributes in place."""
        self._own = {name: vars(module)[name] for name in self.attributes if name in vars(module)}
        vars(module).update(self.attributes)
        vars(module)[MARK] = self
        if self.begin is not None:
            module.register_forward_pre_hook(self.begin, with_kwargs=True)

    def undo(self, module: nn.Module) -> None:
        """Make the module what it was."""
        del vars(module)[MARK]
        for name in self.attributes:
            vars(module).pop(name, None)
        vars(module).update(self._own)
        remove_hooks(module, Begin)
        self.site.observer = None
        with torch.no_grad():
            self.site.window.copy_(self._window)


class Begin:
    """A forward pre-hook of a neuron whose state tells where a sequence begins."""

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
    """A forward pre-hook of the model, for sites that no state tells about."""

    def __init__(self, sites: list[SpikeSite]) -> None:
        self.sites = sites

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled():
            for site in self.sites:
                site.count.enter()


class Fire:
    """Stands before a spike function: its spikes forward, the site's surrogate backward.

    Args:
        original: makes spikes from its first argument, the potential as the site's gate reads it.
        site: the layer's windows.
    """

    def __init__(self, original: Callable[..., Tensor], site: SpikeSite) -> None:
        self.original = original
        self.site = site

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.site.fire(potential, lambda: self.original(potential, *args, **kwargs))


def swaps(model: nn.Module) -> Iterator[tuple[str, nn.Module, Swap]]:
    """Name, module and swap of everything in `model` that is adapted."""
    for name, module in model.named_modules():
        swap = vars(module).get(MARK)
        if isinstance(swap, Swap):
            yield name, module, swap


def without_graph(state: object) -> bool:
    """Whether a neuron's state carries nothing over from a step before."""
    if not isinstance(state, Tensor):
        return True
    # torch.compile cannot ask for grad_fn. A state that is a leaf with a gradient is one of a begin, too.
    return not state.requires_grad if torch.compiler.is_compiling() else state.grad_fn is None


def remove_hooks(module: nn.Module, kind: type) -> None:
    """Take the forward pre-hooks of `kind` out of `module`."""
    for key in [key for key, hook in module._forward_pre_hooks.items() if isinstance(hook, kind)]:
        del module._forward_pre_hooks[key]
        module._forward_pre_hooks_with_kwargs.pop(key, None)
