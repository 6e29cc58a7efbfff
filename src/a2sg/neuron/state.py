"""The state that a layer carries from one call to the next of the same sequence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """What a neuron carries from one call to the next."""

    potential: Tensor
    """v after the reset, `[B, ...]`."""
    step: int
    """Steps done since the start of the sequence, or of the part of it that gradients flow through."""

    def detach(self) -> State:
        """The state for the next chunk of truncated back-propagation through time.

        Gradients end here, and steps are counted from 0 again: a step's window depends on its place in the
        backward pass.
        """
        return State(self.potential.detach(), 0)


class RecurrentState(NamedTuple):
    """What a recurrent layer carries from one call to the next."""

    neuron: State
    spikes: Tensor
    """Of the last step `[B, ...]`."""

    def detach(self) -> RecurrentState:
        """See `State.detach`."""
        return RecurrentState(self.neuron.detach(), self.spikes.detach())


# torch.load(weights_only=True), the default, may then read them: they are plain data.
torch.serialization.add_safe_globals([State, RecurrentState])
