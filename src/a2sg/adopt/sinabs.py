"""Sinabs: the layers with a `spike_fn` (IAF, LIF, recurrent and squeezed ones too).

A layer runs the T steps of `[B, T, ...]` in one call, with `spike_fn.apply(v_mem, threshold, surrogate)` once
per step. At the start of a sequence its state carries no graph: after `reset_states` or `zero_grad`.
`SingleSpike` fires once if u >= Vth; `MultiSpike`, the default, once for each whole multiple of Vth.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import Tensor, nn

from a2sg.adopt.gates import Multiples
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.swap import MARK, Swap, without_graph


def adopt(layer: nn.Module, site: SpikeSite) -> Swap | str | None:
    """Sinabs: the layers with a `spike_fn` (IAF, LIF, recurrent and squeezed ones too).

    Returns the swap of a layer; or why there is none; or None for a module without spikes.

    Raises:
        InputError: for an unbounded surrogate if a step may fire several spikes.
    """
    original = getattr(layer, "spike_fn", None)
    if original is None:
        return None
    kind = getattr(original, "__name__", type(original).__name__)
    if kind not in ("SingleSpike", "MultiSpike", "MaxSpike"):
        return f"its spike function {kind} is not known"
    fire: _Single | _Several = _Single(original, site)
    if kind != "SingleSpike":
        threshold = getattr(layer, "spike_threshold", None)
        if not isinstance(threshold, nn.Parameter):
            return "it fires several spikes in a step, at a threshold that changes"
        fire = _Several(original, site, threshold)
    site.count.told = True
    # A layer copies itself by building a new one, which would share its site.
    return Swap(site, {"spike_fn": fire, "__deepcopy__": partial(_copy, layer)}, _at_rest)


class _Single:
    """Replaces a spike function that fires once where v_mem reaches the threshold."""

    def __init__(self, original: Any, site: SpikeSite) -> None:
        self.original = original
        self.site = site

    @property
    def required_states(self) -> list[str]:
        """The states that `apply` is called with, v_mem first."""
        names: list[str] = self.original.required_states
        return names

    def apply(self, v_mem: Tensor, *args: Any) -> Tensor:
        """Spikes of v_mem; the last arguments are its threshold and the host's surrogate."""
        threshold = args[-2].detach() if isinstance(args[-2], Tensor) else args[-2]
        return self.site.fire(v_mem - threshold, lambda: self.original.apply(v_mem, *args))


class _Several(_Single):
    """Replaces one that fires for each whole multiple of the threshold."""

    def __init__(self, original: Any, site: SpikeSite, threshold: Tensor) -> None:
        super().__init__(original, site)
        self.most: int | None = getattr(original, "max_num_spikes_per_bin", None)
        self._read(threshold)

    def apply(self, v_mem: Tensor, *args: Any) -> Tensor:
        threshold = args[-2]
        if threshold is not self._seen[0] or threshold._version != self._seen[1]:
            self._read(threshold)
        return self.site.fire(v_mem, lambda: self.original.apply(v_mem, *args))

    def _read(self, threshold: Tensor) -> None:
        self._seen = threshold, threshold._version
        value = float(threshold) if threshold.numel() == 1 else threshold.detach()
        self.site.gate = Multiples(self.site.gate.surrogate, (), value, self.most)


def _at_rest(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return all(without_graph(state) for state in layer.buffers(recurse=False))


def _copy(layer: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy, with its own site."""
    swap = vars(layer)[MARK]
    twin: nn.Module = type(layer).__deepcopy__(layer, memo)  # type: ignore[attr-defined]
    twin.spike_fn = swap.attributes["spike_fn"].original
    site = copy.deepcopy(swap.sites("")[""], memo)
    again = adopt(twin, site)
    assert isinstance(again, Swap)
    again.apply(twin)
    return twin
