"""Norse: cells and modules of LIF, LIFBox, IAF, LIFEx, LIFAdEx, LSNN and Izhikevich.

A cell gets its step as a function (`activation`), which calls the `threshold` of its Python module with
u - Vth and the name of a surrogate. The same function is run with another `threshold`. At the start of a
sequence there is no state, or one that carries no graph.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Swap, without_graph
from a2sg.errors import require

STEPS = tuple(
    f"norse.torch.functional.{name}"
    for name in ("lif", "lif_box", "iaf", "lif_ex", "lif_adex", "lsnn", "izhikevich")
)
"""Modules with steps that call `threshold` once, for their spikes."""

ADJOINT = "norse.torch.functional.adjoint"
"""Modules with steps that have a hand-written backward pass."""


def adopt(cell: nn.Module, site: SpikeSite) -> Swap | str | None:
    """Norse: cells and modules of LIF, LIFBox, IAF, LIFEx, LIFAdEx, LSNN and Izhikevich.

    Returns the swap of a cell or module; or why there is none; or None for a module without spikes.

    Raises:
        InputError: for the adjoint method, whose step has no surrogate.
    """
    steps = {name: getattr(cell, name, None) for name in ("activation", "activation_sparse")}
    method = getattr(getattr(cell, "p", None), "method", None)
    adjoint = getattr(steps["activation"], "__module__", "").startswith(ADJOINT)
    if method is None and not adjoint and "threshold" not in getattr(steps["activation"], "__globals__", ()):
        return None
    require(
        method != "adjoint" and not adjoint,
        f"{type(cell).__name__} uses the adjoint method, whose backward pass has no surrogate: build it with "
        "method='super' (LSNN: adjoint=False)",
    )
    known = {
        name: step
        for name, step in steps.items()
        if isinstance(step, FunctionType) and step.__module__ in STEPS
    }
    if "activation" not in known:
        return "its step function is not known"
    site.count.told = True
    return Swap(site, {name: _Step(step, site) for name, step in known.items()}, _at_rest)


class _Step:
    """A step of Norse whose spikes come from the site."""

    def __init__(self, original: FunctionType, site: SpikeSite) -> None:
        self.original = original
        self.site = site
        self._bind()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def _bind(self) -> None:
        original = self.original
        scope = dict(original.__globals__)
        scope["threshold"] = _Threshold(scope["threshold"], self.site)
        run = FunctionType(
            original.__code__, scope, original.__name__, original.__defaults__, original.__closure__
        )
        run.__kwdefaults__ = original.__kwdefaults__
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        return {"original": self.original, "site": self.site}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()


class _Threshold:
    """Norse's `threshold(distance, method, alpha)`, with the site's surrogate."""

    def __init__(self, original: Callable[..., Tensor], site: SpikeSite) -> None:
        self.original = original
        self.site = site

    def __call__(self, distance: Tensor, method: str, alpha: Any) -> Tensor:
        return self.site.fire(distance, lambda: self.original(distance, method, alpha))


def _at_rest(cell: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    state = args[1] if len(args) > 1 else kwargs.get("state")
    return state is None or without_graph(state.v)
