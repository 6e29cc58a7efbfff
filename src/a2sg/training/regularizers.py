"""Terms added to a loss that shape the membrane potentials, from the records of `a2sg.recording`.

They are baselines of A2SG's paper and compose with it (method, section 9).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import Tensor

from a2sg.errors import InputError, require
from a2sg.neuron import Record
from a2sg.registry import Registry


@dataclass(frozen=True)
class Regularizer(ABC):
    """A term of the loss, a sum over layers: call it with `a2sg.recording`'s records and the progress.

    Args:
        weight: k, at least 0.

    Raises:
        InputError: for a weight out of range, or records that hold no forward pass.
    """

    weight: float

    def __post_init__(self) -> None:
        require(
            isinstance(self.weight, int | float) and math.isfinite(self.weight) and self.weight >= 0,
            f"the weight of a regularizer must be a number of at least 0, not {self.weight}",
        )

    def __call__(self, records: Mapping[str, list[Record]], progress: float) -> Tensor:
        """The term, a 0-d tensor.

        Args:
            records: collected by `a2sg.recording(model)`; each forward pass of a neuron counts as a layer.
            progress: share of the training that is done, from 0 to 1.
        """
        terms = [self._layer(record) for calls in records.values() for record in calls]
        if not terms:
            raise InputError("a regularizer needs records: run the model inside a2sg.recording(model)")
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return self._weight(progress) * total

    def _weight(self, progress: float) -> float:
        return self.weight

    @abstractmethod
    def _layer(self, record: Record) -> Tensor:
        """The term of one layer."""


Kind = TypeVar("Kind", bound=type[Regularizer])

REGULARIZERS: Registry[type[Regularizer]] = Registry("regularizer")
"""Names that recipes and the command line use."""


def register_regularizer(name: str) -> Callable[[Kind], Kind]:
    """A decorator that makes a term of the loss known by `name` to recipes, arms and the command line.

    Put it on a dataclass derived from `Regularizer`.

    Raises:
        InputError: if another term has that name.
    """
    return REGULARIZERS.register(name)


@register_regularizer("im")
@dataclass(frozen=True)
class IMLoss(Regularizer):
    """k Σ_l (mean u_l - Vth)², so that about half of the neurons fire (Guo et al., IM-Loss, NeurIPS 2022).

    The mean is over steps, batch and neurons of a layer. We did not have the paper's full text, so it is not
    certain whether it takes the mean per step, or averages over layers.
    """

    published: ClassVar[float] = 1e-3

    def _layer(self, record: Record) -> Tensor:
        threshold = record.threshold
        aim = threshold.mean() if isinstance(threshold, Tensor) else threshold
        return (record.potential.mean() - aim).square()


@register_regularizer("rmp")
@dataclass(frozen=True)
class RMPLoss(Regularizer):
    """λ(n) Σ_l mean (u - s)², which pulls potentials towards the spikes (Guo et al., RMP-Loss, ICCV 2023).

    λ rises linearly from 0 to k at half of the training, then falls back to 0. We know that it rises and
    falls; that both are linear, and that the maximum is k, is our reading. Meant for binary spikes.
    """

    published: ClassVar[float] = 5e-4

    def _weight(self, progress: float) -> float:
        return self.weight * (1 - abs(2 * min(max(progress, 0.0), 1.0) - 1))

    def _layer(self, record: Record) -> Tensor:
        return (record.potential - record.spikes).square().mean()


def create_regularizers(weights: Mapping[str, float]) -> list[Regularizer]:
    """The terms named in `weights`, such as `{"im": 1e-3, "rmp": 5e-4}`.

    Raises:
        InputError: for an unknown name, or a weight that is not a number of at least 0.
    """
    return [REGULARIZERS.find(name)(weight) for name, weight in weights.items()]
