"""`Site`: a place in a network where spikes are made, with a window for each time step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, called, require, require_count
from a2sg.kernels.gate import Gate
from a2sg.surrogate import Surrogate
from a2sg.window.observer import Observer


class Site(nn.Module):
    """A module that makes spikes, with a surrogate window for each time step.

    This is all that `a2sg.AdaptiveWindows` knows of a layer. `a2sg.LIF` and its kin are sites, and so is
    `a2sg.SpikeSite`. A spiking module of your own is found once it derives from this class. It reads `window`
    in every forward pass, and while `observer` is set, its backward pass shows every step to it.

    Args:
        steps: T, at least 1.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, T numbers, or a tensor `[T, ...]`.
        saved: whether the model's `state_dict` has the window. If not, that of `AdaptiveWindows` has.

    Attributes:
        steps: T.
        surrogate: shape of ds/du, replaced when its bias is searched.
        window: buffer `[T]`, set in place by a search.
        observer: adds up the sums of observed backward passes; None while nothing is observed.

    Raises:
        InputError: for a value out of range.
    """

    steps: int
    surrogate: Surrogate
    window: Tensor
    observer: Observer | None

    def __init__(
        self,
        steps: int,
        surrogate: Surrogate,
        *,
        window: float | Sequence[float] | Tensor = 1.0,
        saved: bool = True,
    ) -> None:
        super().__init__()
        self.steps = require_count("steps", steps)
        require(
            isinstance(surrogate, Surrogate),
            f"surrogate must be a shape such as a2sg.surrogate.Boxcar(), not {surrogate!r}",
        )
        self.surrogate = surrogate
        self.register_buffer("window", _window_buffer(window, steps), persistent=saved)
        self.observer = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "window" and isinstance(value, Tensor):
            _require_untrained(value)
        super().__setattr__(name, value)

    @property
    def gate(self) -> Gate:
        """How potentials turn into spikes; asked for where `torch.compile` has traced a backward pass."""
        raise NotImplementedError


def require_module(model: object) -> None:
    """Raise `InputError` unless `model` is a torch module."""
    what = f"the class {model.__name__}: build one" if isinstance(model, type) else f"{type(model).__name__}"
    require(isinstance(model, nn.Module), f"the model must be a torch module, not {what}")


def sites_of(model: nn.Module) -> dict[str, Site]:
    """The sites in `model`, by module name; none if nothing in it makes spikes."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Site)}


def find_sites(model: nn.Module) -> dict[str, Site]:
    """The sites in `model` whose windows can be set by step, by module name.

    Raises:
        InputError: if there are none, or one has windows of another form.
    """
    require_module(model)
    sites = sites_of(model)
    require_some(sites)
    require_windows_by_step(sites)
    return sites


def require_some(sites: dict[str, Site]) -> None:
    """Raise `InputError` for a model without sites."""
    require(
        bool(sites),
        "found no spiking neurons in the model: use a2sg.LIF and its kin, or adapt those of another library "
        "with a2sg.adapt(model, steps=T)",
    )


def require_windows_by_step(sites: dict[str, Site]) -> None:
    """Raise `InputError` unless every site has one window per step."""
    for name, site in sites.items():
        require(
            site.window.dim() == 1,
            f"{called(name)} has windows of shape {tuple(site.window.shape)}: adaptive windows are one per "
            "step, [T]",
        )


def _require_untrained(window: Tensor) -> None:
    require(
        not window.requires_grad,
        "a window gets no gradient, since it changes gradients alone: give numbers, or a detached tensor; "
        "a2sg.AdaptiveWindows adapts them",
    )


def _window_buffer(window: float | Sequence[float] | Tensor, steps: int) -> Tensor:
    try:
        value = torch.as_tensor(window)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"window must be a number, or one for each step, not {window!r}") from None
    _require_untrained(value)
    value = value.detach().clone().to(value.dtype if value.is_floating_point() else torch.float32)
    if value.dim() == 0:
        value = value.repeat(steps)
    require(
        value.shape[0] == steps,
        f"window must be one number, or one for each of the {steps} steps, not of shape {tuple(value.shape)}",
    )
    bad = value[~(value.isfinite() & (value > 0))]
    require(bad.numel() == 0, f"window must be above 0, not {bad[0].item() if bad.numel() else None}")
    return value
