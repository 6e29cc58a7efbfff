"""snnTorch: every neuron with a `spike_grad`, called once per step.

A neuron calls `spike_grad` twice per step, first for the reset of the step before, which it detaches. So the
neuron's own calls are counted. At the start of a sequence its state, passed or kept, carries no graph.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import Fire, Swap, without_graph

AT_ONCE = ("LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky")
"""Neurons that compute all steps in one call: their steps cannot be told apart."""


def adopt(neuron: nn.Module, site: SpikeSite) -> Swap | str | None:
    """snnTorch: every neuron with a `spike_grad`, called once per step.

    Returns the swap of a neuron; or why there is none; or None for a module without spikes.
    """
    original = getattr(neuron, "spike_grad", None)
    if original is None:
        return None
    if type(neuron).__name__ in AT_ONCE:
        return "it fires all steps in one call"
    if getattr(neuron, "surrogate_disable", False):
        return "its surrogate is disabled"
    site.count.told = True
    return Swap(site, {"spike_grad": _Fire(original, site)}, _at_rest, advance=True)


class _Fire(Fire):
    """A spike function whose steps are counted by the neuron's calls."""

    def __call__(self, potential: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.site.fire(potential, lambda: self.original(potential), step=self.site.count.at)


def _at_rest(neuron: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    named = [value for name, value in kwargs.items() if name != "input_"]
    passed = [state for state in (*args[1:], *named) if isinstance(state, Tensor)]
    return all(without_graph(state) for state in passed) if passed else without_graph(neuron.mem)
