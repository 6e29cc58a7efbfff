"""LIF, IF and PLIF: neurons with one threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_share
from a2sg.kernels import BackendName, Order, Reset
from a2sg.neuron.registry import register_neuron
from a2sg.neuron.spiking import SpikingNeuron
from a2sg.surrogate import Asymmetric, Surrogate


@register_neuron("lif")
class LIF(SpikingNeuron):
    """Leaky integrate-and-fire (method, section 2): u[t] = decay · v[t-1] + I[t], spike at u >= threshold.

    Args:
        steps: T, at least 1.
        decay: the leak λ per step, 0 to 1.
        threshold: Vth, above 0.
        reset: `"soft"` subtracts the threshold, `"hard"` returns to 0.
        detach_reset: whether to leave the reset out of the gradient.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, T numbers, or a tensor `[T, ...]` whose
            `window[t]` broadcasts against `[B, ...]` (per channel: `[T, 1, C, 1, 1]`).
        order: `"field"` or `"scaled"`, where the leak scales the input too (the A2SG research code).
        backend: how it is computed: `"auto"`, `"reference"` (plain torch), `"compiled"` (torch.compile) or
            `"triton"` (kernels of our own, on CUDA).

    Raises:
        InputError: for a value out of range.
    """

    def __init__(
        self,
        steps: int,
        *,
        decay: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            order=order,
            backend=backend,
        )
        self.decay = require_share("decay", decay)

    def leak(self) -> float:
        return self.decay


@register_neuron("if")
class IF(SpikingNeuron):
    """Integrate-and-fire: a LIF that does not leak. Arguments as for `LIF`."""

    def __init__(
        self,
        steps: int,
        *,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            backend=backend,
        )

    def leak(self) -> float:
        return 1.0


@register_neuron("plif")
class PLIF(SpikingNeuron):
    """A LIF whose decay is trained, one per layer, as sigmoid(raw_decay) (Fang et al., PLIF, 2021).

    Arguments as for `LIF`; `decay` is the initial value, strictly between 0 and 1.
    """

    def __init__(
        self,
        steps: int,
        *,
        decay: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "soft",
        detach_reset: bool = False,
        surrogate: Surrogate = Asymmetric(),
        window: float | Sequence[float] | Tensor = 1.0,
        order: Order = "field",
        backend: BackendName = "auto",
    ) -> None:
        super().__init__(
            steps,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            window=window,
            order=order,
            backend=backend,
        )
        require(
            0 < require_share("decay", decay) < 1, f"the decay of a PLIF must not be 0 or 1, but is {decay}"
        )
        self.raw_decay = nn.Parameter(torch.tensor(math.log(decay / (1 - decay))))

    def leak(self) -> Tensor:
        return torch.sigmoid(self.raw_decay)
