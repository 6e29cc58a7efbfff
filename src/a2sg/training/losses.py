"""Readouts and losses of logits `[T, B, K]`; further dimensions after K (segmentation) work alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.errors import require, require_positive, require_share
from a2sg.neuron.integrator import integrated
from a2sg.registry import Registry, check_options


def mean_readout(logits: Tensor) -> Tensor:
    """The mean over time: `[T, B, K]` to `[B, K]`, in float32 at least."""
    return _checked(logits).mean(0)


def membrane_readout(logits: Tensor, *, decay: float = 0.9) -> Tensor:
    """The potential at T of a neuron that integrates and never fires: v[t] = decay · v[t-1] + y[t].

    Args:
        logits: `[T, B, K]`.
        decay: leak per step, 0 to 1.

    Returns:
        v[T], `[B, K]`, in float32 at least.
    """
    return integrated(_checked(logits), decay)[-1]


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss of logits `[T, B, K]`, with the readout that decides.

    Labels are class numbers `[B]`, or class probabilities `[B, K]`. With further dimensions of logits, as
    `[T, B, K, H, W]`, so have labels, `[B, H, W]`; those below 0 (`a2sg.data.sets.IGNORE`) count for nothing.

    Args:
        label_smoothing: share of the target spread evenly over the classes, in [0, 1).

    Raises:
        InputError: for an option out of range, or logits of too few dimensions.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}",
        )

    @abstractmethod
    def readout(self, logits: Tensor) -> Tensor:
        """`[B, K]` from `[T, B, K]`."""

    def predict(self, logits: Tensor) -> Tensor:
        """The class with the largest readout, `[B]`."""
        return self.readout(logits).argmax(1)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a 0-d tensor."""
        return cross_entropy(self.readout(logits), labels, self.label_smoothing)


Kind = TypeVar("Kind", bound=type[Loss])

LOSSES: Registry[type[Loss]] = Registry("loss")
"""Names that recipes and the command line use."""


def register_loss(name: str) -> Callable[[Kind], Kind]:
    """A decorator: recipes and the command line then know a loss by `name`.

    It is put on a dataclass derived from `Loss`.

    Raises:
        InputError: if another loss has that name.
    """
    return LOSSES.register(name)


@register_loss("mean")
@dataclass(frozen=True, kw_only=True)
class MeanLoss(Loss):
    """Cross-entropy of the time-mean output."""

    def readout(self, logits: Tensor) -> Tensor:
        return mean_readout(logits)


@register_loss("membrane")
@dataclass(frozen=True, kw_only=True)
class MembraneLoss(Loss):
    """Cross-entropy of the read-out potential at T (the A2SG research code).

    Args:
        label_smoothing: see `Loss`.
        decay: leak of the read-out, 0 to 1.
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("decay", self.decay)

    def readout(self, logits: Tensor) -> Tensor:
        return membrane_readout(logits, decay=self.decay)


@register_loss("tet")
@dataclass(frozen=True, kw_only=True)
class TETLoss(Loss):
    """Temporal efficient training (Deng et al., 2022): every step's output has to be right by itself.

    (1 - weight) · mean over t of CE(y[t], label) + weight · mean of (y - target)². The time mean decides.

    Args:
        label_smoothing: see `Loss`.
        weight: λ of the second term, which holds outputs near the target, 0 to 1.
        target: φ, the threshold of the network's neurons.
    """

    weight: float = 0.05
    target: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("weight", self.weight)
        require_positive("target", self.target)

    def readout(self, logits: Tensor) -> Tensor:
        return mean_readout(logits)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = _checked(logits)
        # Every step has the same number of samples, so the mean over both is the mean over steps.
        everywhere = labels.expand(len(logits), *labels.shape).flatten(0, 1)
        per_step = cross_entropy(logits.flatten(0, 1), everywhere, self.label_smoothing)
        return (1 - self.weight) * per_step + self.weight * (logits - self.target).square().mean()


def cross_entropy(scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, the mean over all labels; those below 0 count for nothing, and none at all give 0.

    Args:
        scores: `[N, K, ...]`.
        labels: class numbers `[N, ...]`, or class probabilities `[N, K]`.
        label_smoothing: see `Loss`.

    Raises:
        InputError: if labels do not fit the scores.
    """
    shape = scores.shape if labels.is_floating_point() else (len(scores), *scores.shape[2:])
    require(
        labels.shape == shape,
        f"the network gives logits {tuple(scores.shape)} (B, K, ...), which do not fit labels "
        f"{tuple(labels.shape)}: a class per pixel needs a network such as fcn_small, a class per image one "
        "such as vgg_small",
    )
    if labels.is_floating_point() or labels.dim() == 1:
        return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
    total = F.cross_entropy(scores, labels, label_smoothing=label_smoothing, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def create_loss(name: str, label_smoothing: float = 0.0, **options: Any) -> Loss:
    """A loss by its name in `LOSSES`.

    Raises:
        InputError: for an unknown name or option, or a value out of range.
    """
    cls = LOSSES.find(name)
    check_options(f"loss {name!r}", cls, options)
    return cls(label_smoothing=label_smoothing, **options)


def _checked(logits: Tensor) -> Tensor:
    require(logits.dim() >= 3, f"logits must be [T, B, K], not of shape {tuple(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
