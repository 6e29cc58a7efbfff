"""Losses for regression: from outputs `[T, B, K]`, K numbers for each sample."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from a2sg.errors import require, require_positive
from a2sg.training.losses import Criterion, mean_readout, register_loss


class RegressionLoss(Criterion):
    """A loss of outputs `[T, B, K]`, whose mean over time should equal the targets `[B, K]`.

    Raises:
        InputError: for targets that are not of shape `[B, K]`.
    """

    tasks = frozenset({"regression"})

    def readout(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        return mean_readout(logits, lengths)

    def predict(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The K numbers of each sample, `[B, K]`."""
        return self.read(logits, lengths)

    def __call__(self, logits: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        values = self.read(logits, lengths)
        require(
            values.shape == labels.shape,
            f"the network gives {tuple(values.shape)} (B, K) numbers, which do not fit targets "
            f"{tuple(labels.shape)}: a data set for regression gives K numbers for each sample, float32 [K]",
        )
        return self.distance(values, labels.to(values.dtype))

    @abstractmethod
    def distance(self, values: Tensor, targets: Tensor) -> Tensor:
        """Their mean difference by this loss, a 0-d tensor; both are `[B, K]`."""


@register_loss("mse")
@dataclass(frozen=True, kw_only=True)
class MSELoss(RegressionLoss):
    """Mean squared error of the time-mean output, for regression."""

    def distance(self, values: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(values, targets)


@register_loss("huber")
@dataclass(frozen=True, kw_only=True)
class HuberLoss(RegressionLoss):
    """Huber's loss of the time-mean output: e²/2 up to an error e of delta, linear beyond; for regression.

    Args:
        delta: where it becomes linear, above 0, in the unit of the targets.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        require_positive("delta", self.delta)

    def distance(self, values: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(values, targets, delta=self.delta)
