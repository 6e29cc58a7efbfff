"""`adapt`: A2SG for a model of another library, in two lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from a2sg.adopt.count import StepCount
from a2sg.adopt.find import Found, Window, find
from a2sg.adopt.plain import Functions
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Enter, Leave, remove_hooks, swaps
from a2sg.adopt.watch import Example
from a2sg.columns import aligned
from a2sg.errors import InputError, called, require
from a2sg.surrogate import Surrogate
from a2sg.window.adaptive import AdaptiveWindows
from a2sg.window.policy import Loss
from a2sg.window.site import Site, require_module

log = logging.getLogger("a2sg")

NONE = "found no spiking neurons of SpikingJelly, snnTorch, Norse, Sinabs or a2sg in the model"
UNNAMED = (
    ": pass example=batch to find your own spike functions by watching one pass, or name them with "
    "functions={YourModule: 'attribute'}"
)
UNSEEN = (
    ", and no autograd.Function that makes spikes in the example: call a2sg.spike where your "
    "model makes spikes"
)


def adapt(
    model: nn.Module,
    steps: int,
    *,
    surrogate: Surrogate | None = None,
    window: Window | None = None,
    functions: Functions | None = None,
    example: Example | None = None,
    groups: int | None = None,
    **options: Any,
) -> Adapted:
    """Adaptive windows for a model of SpikingJelly, snnTorch, Norse, Sinabs, or your own.

        windows = a2sg.adapt(model, steps=4)  # with example=batch for your own spike functions
        print(windows)  # what was found
        ...
        loss.backward(); optimizer.step(); windows.step()

    Every spiking neuron keeps its equations, threshold and reset. Only ds/du in its backward pass changes: it
    becomes the surrogate, with a window for each step. Spikes, parameters, modules and `state_dict` stay the
    same.

    Steps are counted as neurons are called, but only while gradients are enabled. A sequence begins where a
    neuron's state carries no graph: after the library's reset, when no state is passed, or after `detach`.
    Plain functions and `SpikeSite` have no state. For them a sequence begins with the model's forward pass
    or, if your loop calls the model once per step, after T calls. A sequence whose length is not T is an
    `InputError`: at its first extra step, or if it is shorter, at the next sequence or in `windows.step()`.

    Args:
        model: holds spiking neurons. It is changed in place; no host library is imported.
        steps: T, the time steps of each backward pass.
        surrogate: shape of ds/du; None is `Asymmetric()`, or for this package's neurons their own.
        window: initial half-width, one number, T or G; None is 1.0, or for this package's neurons their own.
        functions: for your own modules, class -> the name of the attribute that holds the spike function,
            if it is called with u - threshold; or (name, threshold), if it is called with u. A list of
            thresholds is for a function with several levels: one more spike at each. With `example` also an
            `autograd.Function` -> where it fires, wherever it is called.
        example: the input of one forward pass: a tensor, a tuple of arguments, or a dict of them by name; or
            a function that runs one sequence of T steps as your loop does. The model runs on it, forward and
            backward, and is then restored. Each `autograd.Function` that makes spikes is found, under
            whatever name it is called, with the levels at which it fires. A module that calls one for several
            layers gets a site for each, by the order of its calls: later forward passes must make the same.
        groups: G, the number of groups of consecutive steps, as equal as possible, that share a window; None
            is a window for each step. This package's neurons have their own.
        options: of `AdaptiveWindows`. `gradient="full"` works only with this package's neurons: a spike
            function sees dL/ds, not dL/du.

    Returns:
        The windows.

    Raises:
        InputError: for a model without spiking neurons, one that is already adapted, a neuron whose surrogate
            cannot be replaced, spike functions whose calls cannot be told apart, or an option out of range.
    """
    require_module(model)
    for name, _, _ in swaps(model):
        raise InputError(f"{called(name)} is already adapted: call revert() first")
    found = find(model, steps, surrogate, window, functions or {}, example, groups)
    for name, reason in found.left_alone.items():
        log.warning("%s is left alone: %s", called(name), reason)
    if not found.swaps:
        raise InputError(_nothing(found, example is not None))
    for name, site in found.sites.items():
        require(
            options.get("gradient") != "full" or not isinstance(site, SpikeSite),
            f"{called(name)}: gradient='full' needs dL/du, which a spike function does not see: use 'spike'",
        )
    return Adapted(model, found, window, **options)


def _nothing(found: Found, looked: bool) -> str:
    """Why a model has nothing to adapt, and what to do."""
    if found.left_alone:
        reasons = "; ".join(f"{called(name)}: {reason}" for name, reason in found.left_alone.items())
        return (
            f"no spiking neuron of the model can be adapted ({reasons}): use neurons that fire step by step"
        )
    return NONE + (UNSEEN if looked else UNNAMED)


def revert(model: nn.Module) -> nn.Module:
    """Undo `adapt` in a model, or in a copy of an adapted one, and return it."""
    for _, module, swap in list(swaps(model)):
        swap.undo(module)
    remove_hooks(model, Enter, Leave)
    return model


class Adapted(AdaptiveWindows):
    """What `adapt` returns: `AdaptiveWindows` that can be undone.

    The model's `state_dict` is exactly the library's, so the windows in use are in this `state_dict`. `print`
    shows a table of what was found, and of what could not be adapted.

    Attributes:
        model: the adapted model.
        found: for each layer, what makes spikes, and where it fires.
        left_alone: modules that make spikes and could not be adapted, name -> why.
    """

    def __init__(self, model: nn.Module, found: Found, window: Window | None, **options: Any) -> None:
        super().__init__(_Sites(found.sites), **options)
        self.model = self._model = model
        self.left_alone = found.left_alone
        self.found = [row for name, (module, swap) in found.swaps.items() for row in swap.rows(name, module)]
        self._swaps = found.swaps
        self._spikes = [site for site in self.sites.values() if isinstance(site, SpikeSite)]
        for name, (module, swap) in found.swaps.items():
            swap.apply(module)
            swap.name(name)
        if window is not None:
            for site in self.sites.values():
                site.window.copy_(torch.as_tensor(window))
        self._join()
        model.register_forward_pre_hook(Enter(self._counts))
        model.register_forward_hook(Leave(self._counts), always_call=True)

    def __str__(self) -> str:
        heads = ("layer", "module", "spike function", "fires at", "calls")
        alone = [f"{name} is left alone: {reason}" for name, reason in self.left_alone.items()]
        return "\n".join([*aligned([heads, *self.found], words=True), *alone])

    def step(self, loss: Loss | None = None) -> bool:
        """As `AdaptiveWindows.step`.

        Raises:
            InputError: if a layer's last sequence did not have T steps, or what makes its spikes was changed.
        """
        found = super().step(loss)
        for site in self._spikes:
            site.forget()
        return found

    def _end_sequences(self) -> None:
        changed = [
            f"{called(name)}: {misfit} while it was adapted, so its library's surrogate is in use "
            "again: set it before adapt"
            for name, (module, swap) in self._swaps.items()
            if (misfit := swap.misfit(module))
        ]
        misfits = [misfit for count in self._counts if (misfit := count.finish())]
        for message in (*changed, *misfits):
            raise InputError(message)
        super()._end_sequences()

    def revert(self) -> nn.Module:
        """Undo `adapt`, including the windows of this package's neurons, and return the original model."""
        self.detach()
        return revert(self.model)

    @property
    def _unsaved(self) -> dict[str, Site]:
        """All sites: the model's state_dict is the library's own."""
        return self.sites

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, also one of another T; see `WindowPolicy.load_state_dict`."""
        require("in_use" in state, "the saved windows lack in_use: load the state_dict() of adapted windows")
        super().load_state_dict(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._join()

    @property
    def _counts(self) -> list[StepCount]:
        return [count for _, swap in self._swaps.values() for count in swap.counts]

    def _join(self) -> None:
        counts = self._counts
        for count in counts:
            count.together = counts


class _Sites(nn.Module):
    """Holds the sites under the names of their layers, for `AdaptiveWindows` to find."""

    def __init__(self, sites: dict[str, Site]) -> None:
        super().__init__()
        self.sites = sites

    def named_modules(self, *_: Any, **__: Any) -> Iterator[tuple[str, Any]]:
        return iter(self.sites.items())
