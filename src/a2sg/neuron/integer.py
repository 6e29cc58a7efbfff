"""IntegerLIF: a neuron whose spikes are counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from a2sg.errors import require, require_count
from a2sg.neuron.constants import Constant
from a2sg.neuron.registry import register_neuron
from a2sg.neuron.spiking import SharedOptions, SpikingNeuron
from a2sg.surrogate import Boxcar, Surrogate


@register_neuron("integer_lif")
class IntegerLIF(SpikingNeuron):
    """Integer LIF: s = round(clip(u / threshold, 0, levels)), halves round up (Spike-driven Transformer V3).

    The spike counts the thresholds (k - ½) · threshold reached, k = 1 .. levels, and the surrogate is a
    window around each. Boxcar with window threshold / 2 is the straight-through estimator.

    Args:
        steps: T, at least 1 (as published: 1).
        levels: D, the largest spike (as published: 4).
        normalize: whether the output is s / levels (as published) or s.
        threshold: Vth, above 0: a number, since levels are multiples of it.
        decay, detach_reset, surrogate, window, order, learn, backend, groups: as for `LIF`; the reset is
            soft.
    """

    fixed = ("reset",)

    def __init__(
        self,
        steps: int = 1,
        *,
        levels: int = 4,
        normalize: bool = True,
        decay: Constant = 0.9,
        surrogate: Surrogate = Boxcar(),
        window: float | Sequence[float] | Tensor = 0.5,
        **options: Unpack[SharedOptions],
    ) -> None:
        super().__init__(steps, decay=decay, reset="soft", surrogate=surrogate, window=window, **options)
        self.levels = require_count("levels", levels)
        self.normalize = normalize

    def _hold(self, name: str, value: Constant) -> None:
        require(
            name != "threshold" or not isinstance(value, Tensor),
            "the threshold of an IntegerLIF must be a number: its levels are multiples of it; a2sg.LIF takes "
            "one for each channel, and trains it",
        )
        super()._hold(name, value)

    def thresholds(self) -> tuple[float, ...]:
        assert isinstance(self.threshold, float)
        return tuple((k - 0.5) * self.threshold for k in range(1, self.levels + 1))

    def _output(self, spikes: Tensor) -> Tensor:
        return spikes / self.levels if self.normalize else spikes
