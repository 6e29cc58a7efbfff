"""Recurrent: a neuron whose spikes are fed back to it in the next step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from a2sg.errors import require
from a2sg.neuron.inputs import require_sequence, require_state, require_steps
from a2sg.neuron.spiking import Record, SpikingNeuron
from a2sg.neuron.state import RecurrentState


class Recurrent(nn.Module):
    """A recurrent layer: the neuron's current is I[t] + feedback(s[t-1]), with s[0] = 0.

    The neuron runs step by step. `AdaptiveWindows` observes it like any other.

    Args:
        neuron: such as `a2sg.LIF(steps)`.
        feedback: from spikes `[B, ...]` to a current of the same shape, such as `nn.Linear(n, n)` or a
            padded convolution.

    Raises:
        InputError: if `neuron` is not one of this package's.
    """

    def __init__(self, neuron: SpikingNeuron, feedback: nn.Module) -> None:
        super().__init__()
        require(
            isinstance(neuron, SpikingNeuron),
            f"a recurrent layer needs a neuron such as a2sg.LIF(steps=4), not {type(neuron).__name__}",
        )
        self.neuron = neuron
        self.feedback = feedback

    def forward(
        self, current: Tensor, state: RecurrentState | None = None, *, return_state: bool = False
    ) -> Tensor | tuple[Tensor, RecurrentState]:
        """Spikes for T steps of input, from rest; or for a part of a sequence, continuing from a state.

        Args:
            current: I `[T, B, ...]`, floating point; T as for the neuron.
            state: returned by the call for the part before; None starts from rest.
            return_state: whether to return the state too, even if none was given.

        Returns:
            Spikes `[T, B, ...]` in the dtype of `current`; and the state after them, if one was given or
            requested.

        Raises:
            InputError: as for the neuron's `forward`, or if the feedback's shape differs from the input's.
        """
        asked = state is not None or return_state
        require_sequence(current)
        if not asked:
            require_steps(len(current), self.neuron)
        inner, spikes = (None, torch.zeros_like(current[0])) if state is None else _checked(state, current)
        found: list[Tensor] = []
        for step in current:
            back = self.feedback(spikes)
            require(
                back.shape == step.shape,
                f"the feedback has shape {tuple(back.shape)}, the steps of the input have "
                f"{tuple(step.shape)}: it must return a current for every neuron",
            )
            out, inner = self.neuron((step + back)[None], inner, return_state=True)
            spikes = out[0]
            found.append(spikes)
        record = self.neuron._record
        if record is not None:
            record[-len(found) :] = [Record.joined(record[-len(found) :])]
        assert inner is not None
        whole = torch.stack(found)
        return (whole, RecurrentState(inner, spikes)) if asked else whole


def _checked(state: RecurrentState, current: Tensor) -> RecurrentState:
    require(
        isinstance(state, RecurrentState),
        f"the state must be what the last call returned, a RecurrentState, not {type(state).__name__}",
    )
    require_state(state.neuron, current)
    return state
