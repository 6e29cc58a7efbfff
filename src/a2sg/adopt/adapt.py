"""`adapt`: A2SG for a model of another library, in two lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from a2sg.adopt.find import Found, Window, find
from a2sg.adopt.plain import Functions
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Enter, remove_hooks, swaps
from a2sg.errors import InputError, require
from a2sg.surrogate import Surrogate
from a2sg.window.adaptive import AdaptiveWindows
from a2sg.window.policy import Loss
from a2sg.window.site import Site

log = logging.getLogger("a2sg")


def adapt(
    model: nn.Module,
    steps: int,
    *,
    surrogate: Surrogate | None = None,
    window: Window | None = None,
    functions: Functions | None = None,
    **options: Any,
) -> Adapted:
    """Adaptive windows for a model of SpikingJelly, snnTorch, Norse, Sinabs, or your own.

        windows = a2sg.adapt(model, steps=4)
        ...
        loss.backward(); optimizer.step(); windows.step()

    Every spiking neuron keeps its equations, threshold and reset. What changes is ds/du in its backward pass:
    the surrogate, with a window for each step. Spikes, parameters, modules and `state_dict` stay as they are.

    Steps are counted as neurons are called, in grad mode alone. A sequence begins where a neuron's state
    carries no graph: after the host's reset, with no state passed, after `detach`. Plain functions and
    `SpikeSite` have no state to tell from: for them it begins with the model's forward, or, where your loop
    calls the model once a step, after T calls. A sequence of another length than T is an `InputError`: at its
    extra step, at the next sequence, or in `windows.step()`.

    Args:
        model: holds spiking neurons. It is changed in place; no host library is imported.
        steps: T, the time steps of each backward pass.
        surrogate: shape of ds/du; None is `Asymmetric()`, and for our own neurons theirs.
        window: half-width to begin with, one number or T; None is 1.0, and for our own neurons theirs.
        functions: for modules of your own, class -> the name of the attribute that holds the spike function,
            called with u - threshold; or (name, threshold), if it is called with u.
        options: of `AdaptiveWindows`. `gradient="full"` is for our own neurons alone: a spike function sees
            dL/ds, not dL/du.

    Returns:
        The windows.

    Raises:
        InputError: for a model without spiking neurons, one that is adapted already, a neuron that takes no
            other surrogate, or an option out of range.
    """
    found = find(model, steps, surrogate, window, functions or {})
    for name, _, _ in swaps(model):
        raise InputError(f"layer {name!r} is adapted already: undo that first, with revert()")
    for name, reason in found.left_alone.items():
        log.warning("layer %r is left alone: %s", name, reason)
    require(
        bool(found.swaps),
        "found no spiking neurons of SpikingJelly, snnTorch, Norse, Sinabs or a2sg in the model: name the "
        "spike functions of your own modules with functions={YourModule: 'attribute'}",
    )
    for name, (_, swap) in found.swaps.items():
        require(
            options.get("gradient") != "full" or not isinstance(swap.site, SpikeSite),
            f"layer {name!r}: gradient='full' needs dL/du, which a spike function does not see: use 'spike'",
        )
    return Adapted(model, found, window, **options)


def revert(model: nn.Module) -> nn.Module:
    """Undo `adapt` in a model, or in a copy of an adapted one, and return it."""
    for _, module, swap in list(swaps(model)):
        swap.undo(module)
    remove_hooks(model, Enter)
    return model


class Adapted(AdaptiveWindows):
    """What `adapt` returns: `AdaptiveWindows` that can be undone.

    The model's `state_dict` is the host's own, so the windows in use are in this `state_dict`.

    Attributes:
        model: the adapted model.
        left_alone: modules that make spikes and could not be adapted, name -> why.
    """

    def __init__(self, model: nn.Module, found: Found, window: Window | None, **options: Any) -> None:
        super().__init__(_Sites({name: swap.site for name, (_, swap) in found.swaps.items()}), **options)
        self.model = model
        self.left_alone = found.left_alone
        self._spikes = [site for site in self.sites.values() if isinstance(site, SpikeSite)]
        for module, swap in found.swaps.values():
            swap.apply(module)
            if window is not None:
                swap.site.window.copy_(torch.as_tensor(window))
        self._join()
        untold = [site for site in self._spikes if not site.count.told]
        if untold:
            model.register_forward_pre_hook(Enter(untold))

    def step(self, loss: Loss | None = None) -> bool:
        """As `AdaptiveWindows.step`.

        Raises:
            InputError: if a layer's last sequence did not have T steps.
        """
        misfits = [misfit for site in self._spikes if (misfit := site.count.finish())]
        if misfits:
            raise InputError(misfits[0])
        found = super().step(loss)
        for site in self._spikes:
            site.forget()
        return found

    def revert(self) -> nn.Module:
        """Undo `adapt`, the windows of our own neurons included, and return the model it was given."""
        self.detach()
        return revert(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from, the windows in use included."""
        in_use = {name: site.window.detach().cpu().clone() for name, site in self.sites.items()}
        return {**super().state_dict(), "in_use": in_use}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for other layers, steps or candidates.
        """
        require("in_use" in state, "the saved windows lack in_use: save the state_dict() of adapted windows")
        super().load_state_dict(state)
        with torch.no_grad():
            for name, site in self.sites.items():
                site.window.copy_(state["in_use"][name])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy watches the sites of its own."""
        self.__dict__.update(state)
        self._join()
        self._arm()

    def _join(self) -> None:
        counts = [site.count for site in self._spikes]
        for count in counts:
            count.together = counts


class _Sites(nn.Module):
    """Sites under the names of their layers, where `AdaptiveWindows` looks for them."""

    def __init__(self, sites: dict[str, Site]) -> None:
        super().__init__()
        self.sites = sites

    def named_modules(self, *_: Any, **__: Any) -> Iterator[tuple[str, Any]]:
        return iter(self.sites.items())
