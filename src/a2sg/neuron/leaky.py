"""LIF, IF and PLIF: neurons with one threshold."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from a2sg.errors import require
from a2sg.kernels.tracing import tracing
from a2sg.neuron.constants import Constant
from a2sg.neuron.registry import register_neuron
from a2sg.neuron.spiking import NeuronOptions, SpikingNeuron


@register_neuron("lif")
class LIF(SpikingNeuron):
    """Leaky integrate-and-fire (method, section 2): u[t] = decay · v[t-1] + I[t], spike at u >= threshold.

    Args:
        steps: T, at least 1.
        decay: the leak λ per step, from 0 to 1: a number, or a tensor `[C]` with one value for each channel
            of inputs `[T, B, C, ...]`. An `nn.Parameter` of either is trained directly, without bounds.
        threshold: Vth, above 0; likewise.
        reset: `"soft"` subtracts the threshold, `"hard"` sets the potential to 0.
        detach_reset: whether to leave the reset out of the gradient.
        surrogate: shape of ds/du.
        window: half-width of the surrogate: one number, T numbers, or a tensor `[T, ...]` whose `window[t]`
            broadcasts against `[B, ...]` (per channel: `[T, 1, C, 1, 1]`). With groups, G instead of T.
        order: `"field"` or `"scaled"`, where the leak scales the input too (the A2SG research code).
        learn: which constants given as numbers are trained: `"threshold"`, `"decay"`, or both in a list.
        backend: how to compute it: `"auto"`, `"reference"` (plain torch), `"compiled"` (torch.compile) or
            `"triton"` (this package's kernels, on CUDA).
        groups: G, from 1 to T, the number of runs of steps, as equal in length as possible, each of which
            shares a window; None: each step has its own window.

    Raises:
        InputError: for a value out of range.
    """


@register_neuron("if")
class IF(SpikingNeuron):
    """Integrate-and-fire: a LIF that does not leak. Arguments as for `LIF`, except `decay`."""

    fixed = ("decay",)

    def __init__(self, steps: int, **options: Unpack[NeuronOptions]) -> None:
        super().__init__(steps, decay=1.0, **options)

    def _hold(self, name: str, value: Constant) -> None:
        leaks = name == "decay" and (isinstance(value, Tensor) or value != 1)
        require(not leaks, "an IF does not leak: a2sg.LIF has a decay")
        super()._hold(name, value)


@register_neuron("plif")
class PLIF(SpikingNeuron):
    """A LIF whose decay is trained as sigmoid(raw_decay), so it stays between 0 and 1 (Fang et al., 2021).

    Arguments as for `LIF`; `decay` is the initial value, strictly between 0 and 1: a number for one decay per
    layer, or a tensor `[C]` for one per channel.
    """

    def _hold(self, name: str, value: Constant) -> None:
        if name == "decay":
            self.raw_decay = nn.Parameter(_raw(value))
        else:
            super()._hold(name, value)

    def leak(self) -> Tensor:
        return torch.sigmoid(self.raw_decay)


def _raw(decay: Constant) -> Tensor:
    """The inverse sigmoid of `decay`, in float32 for a number."""
    require(
        not isinstance(decay, nn.Parameter),
        "a PLIF always trains its decay: give the initial one as a number or a tensor [C]; to train an "
        "nn.Parameter directly, use a2sg.LIF",
    )
    number = torch.as_tensor(decay)
    within = tracing(number) or bool(((number > 0) & (number < 1)).all())
    require(within, f"the decay of a PLIF must not be 0 or 1, but is {decay}")
    return torch.logit(decay) if isinstance(decay, Tensor) else torch.tensor(math.log(decay / (1 - decay)))
