"""A moving average of the weights, which is tested and saved instead of the trained weights themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

CURRENT, STEPS = "current_weights", "averaged_steps"
"""What a checkpoint also holds, to resume from: the trained weights, and the number of steps."""
PREFIX = "model."
"""Prefix of the names of a network's weights in a checkpoint."""


class WeightAverage:
    """The moving average of a network's weights and statistics over the optimizer's steps.

    After n steps it keeps min(decay, (1 + n) / (10 + n)) of itself, so that a short run forgets its start.

    Args:
        model: the network.
        decay: how much it keeps in a long run, above 0 and below 1.
        without: tensors of the network that are not averaged, such as windows, which are not learnt.
    """

    def __init__(self, model: nn.Module, decay: float, without: Iterable[Tensor]) -> None:
        self.model = model
        self.decay = decay
        left_out = {id(tensor) for tensor in without}
        self.names = [
            name
            for name, value in model.state_dict(keep_vars=True).items()
            if value.is_floating_point() and id(value) not in left_out
        ]
        self.values: list[Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights of another step."""
        current = self._current()
        if self.values:
            kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
            get_ema_multi_avg_fn(kept)(self._on(current), current, self.steps)
        else:
            self.values = [value.clone() for value in current]
        self.steps += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's weights with their average; before the first step nothing happens."""
        if self.values:
            current = self._current()
            for average, value in zip(self._on(current), current, strict=True):
                before = value.clone()
                value.copy_(average)
                average.copy_(before)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Put the average into a checkpoint; if training may resume from it, keep the trained weights too."""
        if self.values:
            state = checkpoint["state_dict"]
            if "optimizer_states" in checkpoint:
                checkpoint[CURRENT] = {name: state[PREFIX + name] for name in self.names}
                checkpoint[STEPS] = self.steps
            state.update({PREFIX + name: value for name, value in zip(self.names, self.values, strict=True)})

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Resume from a checkpoint, whose weights then become the trained ones."""
        if CURRENT in checkpoint:
            state = checkpoint["state_dict"]
            self.values = [state[PREFIX + name].clone() for name in self.names]
            self.steps = checkpoint[STEPS]
            state.update({PREFIX + name: value for name, value in checkpoint[CURRENT].items()})

    def _current(self) -> list[Tensor]:
        state = self.model.state_dict()
        return [state[name] for name in self.names]

    def _on(self, current: list[Tensor]) -> list[Tensor]:
        """The average, on the network's present device."""
        self.values = [value.to(now.device) for value, now in zip(self.values, current, strict=True)]
        return self.values
