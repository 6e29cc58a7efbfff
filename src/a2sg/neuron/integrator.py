"""LI: an integrator without spikes, for read-outs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from a2sg.errors import require_count
from a2sg.kernels import POTENTIAL, spread
from a2sg.neuron.constants import Constant, Constants, require_channels, shown
from a2sg.neuron.inputs import require_sequence, require_state
from a2sg.neuron.state import State


class LI(Constants, nn.Module):
    """Leaky integrator: v[t] = decay · v[t-1] + I[t], without spikes or reset, for read-outs and regression.

    Args:
        steps: T, at least 1.
        decay: the leak per step, from 0 to 1: a number, a tensor `[C]` with one value for each channel of
            `[T, B, C, ...]`, or an `nn.Parameter` of either, which is trained.
        learn: `"decay"` trains a decay that was given as a number.

    Raises:
        InputError: for a value out of range.
    """

    constants = ("decay",)
    decay: Constant

    def __init__(self, steps: int, *, decay: Constant = 0.9, learn: str | Sequence[str] = ()) -> None:
        super().__init__()
        self.steps = require_count("steps", steps)
        self._set_constants(learn, decay=decay)

    def forward(
        self, current: Tensor, state: State | None = None, *, return_state: bool = False
    ) -> Tensor | tuple[Tensor, State]:
        """Potentials for T steps of input, from rest; or for a part of a sequence, continuing from a state.

        Args:
            current: `[T, B, ...]`, floating point; any T.
            state: returned by the call for the part before; None starts from rest.
            return_state: whether to return the state too, even if none was given.

        Returns:
            v `[T, B, ...]` in float32 at least; and the state after them, if one was given or requested.

        Raises:
            InputError: for a wrong rank or dtype, or a state from other inputs.
        """
        asked = state is not None or return_state
        require_sequence(current)
        require_channels("decay", self.decay, current.shape)
        initial, first = (None, 0) if state is None else require_state(state, current)
        potentials = integrated(current, self.decay, initial)
        return (potentials, State(potentials[-1], first + len(current))) if asked else potentials

    def extra_repr(self) -> str:
        return f"steps={self.steps}, decay={shown(self.decay)}"


def integrated(current: Tensor, decay: Constant, initial: Tensor | None = None) -> Tensor:
    """v[t] = decay · v[t-1] + I[t].

    Args:
        current: I `[T, B, ...]`.
        decay: leak per step: a number, or one for each channel `[C]`.
        initial: v[0] `[B, ...]`; None is rest.

    Returns:
        v `[T, B, ...]`, in float32 at least.
    """
    dtype = POTENTIAL[current.dtype]
    decay = spread(decay, current.dim() - 1, dtype)
    found: list[Tensor] = []
    potential = initial
    for step in current.to(dtype):
        potential = step if potential is None else decay * potential + step
        found.append(potential)
    return torch.stack(found)
