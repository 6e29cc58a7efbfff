"""`Site`: a place in a network where spikes are made, with windows for its time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, called, require, require_count
from a2sg.kernels.gate import Gate
from a2sg.kernels.tracing import in_backward, tracing
from a2sg.surrogate import Surrogate
from a2sg.window.observer import Observer
from a2sg.window.sharing import Sharing, fitted


class Site(nn.Module):
    """A module that makes spikes, with a surrogate window for each time step, or for runs of steps.

    This is all that `a2sg.AdaptiveWindows` knows about a layer. `a2sg.LIF` and the other neurons are sites,
    and so is `a2sg.SpikeSite`. To have your own spiking module adapted, derive it from this class: it reads
    `window` in every forward pass, and while `observer` is set, its backward pass shows it every step.

    Args:
        steps: T, at least 1.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, G numbers, or a tensor `[G, ...]`, where G is the
            number of groups, or T without groups.
        groups: G, the number of runs of steps, as equal in length as possible, each of which shares a window;
            None: each step has its own window. Step t, from 0, is in group ⌊t · G / T⌋.
        saved: whether the model's `state_dict` has the window. If not, that of `AdaptiveWindows` has it.

    Attributes:
        steps: T.
        groups: G, or None.
        surrogate: shape of ds/du, replaced when its bias is searched.
        window: buffer `[G]`, set in place by a search. Windows saved with another T or G are loaded in order:
            of too many, the first ones are used; of too few, the last one is repeated. A network that was
            built on the meta device gets them from `load_state_dict`: `to_empty` leaves any numbers there.
        observer: adds up the sums of observed backward passes; None while nothing is observed.

    Raises:
        InputError: for a value out of range.
    """

    varies: ClassVar[bool] = False
    """Whether sequences may have another T than `steps`."""

    steps: int
    groups: int | None = None
    surrogate: Surrogate
    window: Tensor
    observer: Observer | None

    def __init__(
        self,
        steps: int,
        surrogate: Surrogate,
        *,
        window: float | Sequence[float] | Tensor = 1.0,
        groups: int | None = None,
        saved: bool = True,
    ) -> None:
        super().__init__()
        self.steps = require_count("steps", steps)
        self.groups = None if groups is None else require_count("groups", groups, most=steps)
        require(
            isinstance(surrogate, Surrogate),
            f"surrogate must be a shape such as a2sg.surrogate.Boxcar(), not {surrogate!r}",
        )
        self.surrogate = surrogate
        self.register_buffer("window", _window_buffer(window, self.sharing), persistent=saved)
        self.observer = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "window" and isinstance(value, Tensor):
            _require_untrained(value)
        super().__setattr__(name, value)

    @property
    def sharing(self) -> Sharing:
        """Which steps share a window."""
        return Sharing(self.steps, self.steps if self.groups is None else self.groups)

    @property
    def graph_kind(self) -> tuple[Any, ...]:
        """What decides, besides its input, which operations its passes run: a CUDA graph is of one kind."""
        return (self.surrogate,)

    def windows(self, first: int, count: int) -> Tensor:
        """The windows of `count` steps from `first` on, from 0: `[count, ...]`; also of steps beyond T."""
        return self.sharing.windows(self.window, first, count)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """As torch does, but windows saved with another T or G are fitted."""
        saved = state_dict.get(f"{prefix}window")
        if isinstance(saved, Tensor) and saved.dim() == self.window.dim() and len(saved) > 0:
            state_dict[f"{prefix}window"] = fitted(saved, len(self.window))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @staticmethod
    def _repeat(observer: Observer) -> None:
        """Call in an observed forward pass, which a reentrant checkpoint repeats within a backward pass."""
        if in_backward():
            observer.settle()  # if the pass around it fails, what the repeat has added is taken back too

    def _end_sequence(self) -> str:
        """An iteration ends; returns what is wrong with its last sequence, if anything."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        """A copy is not observed, unless its windows are copied with it."""
        return {**self.__dict__, "observer": None}

    @property
    def gate(self) -> Gate:
        """How potentials turn into spikes; read when `torch.compile` has traced the backward pass."""
        raise NotImplementedError


def require_module(model: object) -> None:
    """Raise `InputError` unless `model` is a torch module."""
    what = f"the class {model.__name__}: build one" if isinstance(model, type) else f"{type(model).__name__}"
    require(isinstance(model, nn.Module), f"the model must be a torch module, not {what}")


def sites_of(model: nn.Module) -> dict[str, Site]:
    """The sites in `model`, by module name; empty if nothing in it makes spikes."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Site)}


def find_sites(model: nn.Module) -> dict[str, Site]:
    """The sites in `model` whose windows can be set by step, by module name.

    Raises:
        InputError: if there are none, or one has windows of another shape.
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
        "found no spiking neurons in the model: use a2sg.LIF or another a2sg neuron, or adapt those of "
        "another library with a2sg.adapt(model, steps=T)",
    )


def require_windows_by_step(sites: dict[str, Site]) -> None:
    """Raise `InputError` unless every site has one window per step, or per group of steps."""
    for name, site in sites.items():
        require(
            site.window.dim() == 1,
            f"{called(name)} has windows of shape {tuple(site.window.shape)}: adaptive windows must be one "
            "per step, [T]",
        )


def _require_untrained(window: Tensor) -> None:
    require(
        not window.requires_grad,
        "a window gets no gradient, since it changes only gradients: give numbers, or a detached tensor; "
        "a2sg.AdaptiveWindows adapts them",
    )


def _window_buffer(window: float | Sequence[float] | Tensor, sharing: Sharing) -> Tensor:
    steps, count = sharing
    try:
        value = torch.as_tensor(window)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"window must be a number, or one for each step, not {window!r}") from None
    _require_untrained(value)
    value = value.detach().clone().to(value.dtype if value.is_floating_point() else torch.float32)
    if value.dim() == 0:
        value = value.repeat(count)
    require(
        value.shape[0] == count,
        f"window must be one number, or one for each of the {count} "
        f"{'steps' if count == steps else 'groups of steps'}, not of shape {tuple(value.shape)}",
    )
    if not tracing(value):
        bad = value[~(value.isfinite() & (value > 0))]
        require(bad.numel() == 0, f"window must be above 0, not {bad[0].item() if bad.numel() else None}")
    return value
