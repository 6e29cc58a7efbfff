"""The neuron in plain torch, which autograd differentiates, with any function in place of the hard spike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from a2sg.kernels.drive import Drive
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.gate import Gate
from a2sg.kernels.reference import trace

Spike = Callable[[Gate, Tensor, Tensor], Tensor]
"""From the gate, u[t] `[B, ...]` and its window (which broadcasts against it) to s[t] `[B, ...]`."""


def unroll(
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    dynamics: Dynamics,
    spike: Spike,
    threshold: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `integrate_and_fire`, for analysis: every operation of every step is in the graph.

    Args:
        current: input `[T, B, ...]`.
        decay: leak per step: a number, or a tensor as `a2sg.kernels.spread` gives it.
        initial: potential before the first step `[B, ...]`; None is rest.
        window: `[T, ...]`.
        dynamics: what the neuron does in a step.
        spike: replaces the hard spike.
        threshold: if it is a tensor, as `a2sg.kernels.spread` gives it.

    Returns:
        spikes `[T, B, ...]` in the dtype of `current`, the final potential `[B, ...]` and the potentials
        before reset `[T, B, ...]`.
    """
    drive = Drive(current, len(current), decay, initial, threshold=threshold)
    done = trace(drive, dynamics, lambda u, t: spike(dynamics.gate, u, window[t]))
    return torch.stack(done.spikes).to(current.dtype), done.final, torch.stack(done.potentials)
