"""Readouts and classification losses for logits `[T, B, K]`, also with dimensions after K (segmentation).

Lengths `[B]` say where padded sequences end: outputs after that are ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from a2sg.devices import answers_at_once
from a2sg.errors import InputError, many, require, require_positive, require_share
from a2sg.neuron.integrator import integrated
from a2sg.neuron.lengths import last_of, mean_over_steps, require_lengths, within
from a2sg.registry import Registry


def mean_readout(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The mean over time: `[T, B, K]` to `[B, K]`, in float32 at least."""
    return mean_over_steps(float_steps(logits), lengths)


def membrane_readout(logits: Tensor, lengths: Tensor | None = None, *, decay: float = 0.9) -> Tensor:
    """The potential at T of a neuron that integrates and never fires: v[t] = decay · v[t-1] + y[t].

    Args:
        logits: `[T, B, K]`.
        lengths: of the sequences `[B]`; None: all have T.
        decay: leak per step, 0 to 1.

    Returns:
        v[T], of shorter sequences v at their end, `[B, K]`, in float32 at least.
    """
    return last_of(integrated(float_steps(logits), decay), lengths)


class Criterion(ABC):
    """The loss to minimise, and the readout that decides, from outputs `[T, B, K]`.

    A loss that is only for data of one length may omit `lengths` from its methods.

    Attributes:
        tasks: of the data sets that it fits (`a2sg.data.ImageData.task`); by default all.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "segmentation", "regression"})

    @abstractmethod
    def readout(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`[B, K]` from `[T, B, K]`, of which each sequence has `lengths` `[B]` steps; None: all have T."""

    @abstractmethod
    def predict(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The network's answer, in the form of the data set's labels."""

    def right(self, labels: Tensor) -> Tensor:
        """The right answer of `predict`, from labels after augmentation."""
        return labels

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The loss, a 0-d tensor."""

    def counted(self, labels: Tensor) -> Tensor | int:
        """The weight of the loss of some samples in that of all: a mean is divided by it.

        The number of samples; a loss whose mean is not over samples gives a 0-d tensor instead.
        """
        return len(labels)

    def read(self, logits: Tensor, lengths: Tensor | None) -> Tensor:
        """`readout`; without lengths it also works for a loss that does not take them."""
        return self.readout(logits) if lengths is None else self.readout(logits, lengths)


@dataclass(frozen=True, kw_only=True)
class Loss(Criterion):
    """A loss of logits `[T, B, K]` for classes.

    Labels are class numbers `[B]`, or class probabilities `[B, K]`. With further dimensions of logits, as
    `[T, B, K, H, W]`, so have labels, `[B, H, W]`; those below 0 (`a2sg.data.sets.IGNORE`) count for nothing.

    Args:
        label_smoothing: share of the target spread evenly over the classes, in [0, 1).
        class_weights: a factor above 0 for each class, by label; none weighs all alike. The loss is then the
            weighted mean, Σ w[y] CE / Σ w[y].

    Raises:
        InputError: for an option out of range, logits of too few dimensions, or weights for another number
            of classes.
    """

    tasks = frozenset({"classification", "segmentation"})
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}",
        )
        for weight in self.class_weights:
            require_positive("each of class_weights", weight)

    def predict(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The class with the largest readout, `[B]`."""
        return self.read(logits, lengths).argmax(1)

    def right(self, labels: Tensor) -> Tensor:
        """Class numbers `[B, ...]`; of class probabilities `[B, K, ...]` the likeliest."""
        return labels.argmax(1) if labels.is_floating_point() else labels

    def __call__(self, logits: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.entropy(self.read(logits, lengths), labels)

    def counted(self, labels: Tensor) -> Tensor | int:
        """The number of labels that are not ignored, or the sum of their `class_weights`."""
        if labels.is_floating_point() or (labels.dim() == 1 and not self.class_weights):
            return len(labels)
        there = labels >= 0
        if not self.class_weights:
            return there.sum()
        weight = _on_device(self.class_weights, labels.device, torch.float32)
        return (weight[labels.long().clamp(min=0)] * there).sum()

    def entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        """`cross_entropy` with this loss's options."""
        return cross_entropy(scores, labels, self.label_smoothing, self.class_weights)


Kind = TypeVar("Kind", bound=type[Criterion])

LOSSES: Registry[type[Criterion]] = Registry("loss")
"""Names that recipes and the command line use."""


def register_loss(name: str) -> Callable[[Kind], Kind]:
    """A decorator that makes a loss known by `name` to recipes and the command line.

    Put it on a dataclass derived from `Loss`, or from another `Criterion`. Its fields are options.

    Raises:
        InputError: if another loss has that name.
    """
    return LOSSES.register(name)


@register_loss("mean")
@dataclass(frozen=True, kw_only=True)
class MeanLoss(Loss):
    """Cross-entropy of the time-mean output."""

    def readout(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        return mean_readout(logits, lengths)


@register_loss("membrane")
@dataclass(frozen=True, kw_only=True)
class MembraneLoss(Loss):
    """Cross-entropy of the read-out potential at T (the A2SG research code).

    Args:
        label_smoothing, class_weights: see `Loss`.
        decay: leak of the read-out, 0 to 1.
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("decay", self.decay)

    def readout(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        return membrane_readout(logits, lengths, decay=self.decay)


@register_loss("tet")
@dataclass(frozen=True, kw_only=True)
class TETLoss(Loss):
    """Temporal efficient training (Deng et al., 2022): every step's output has to be right by itself.

    (1 - weight) · mean over t of CE(y[t], label) + weight · mean of (y - target)². The time mean decides.
    Of padded sequences both means are first over each one's own steps, then over the sequences.

    Args:
        label_smoothing, class_weights: see `Loss`.
        weight: λ of the second term, which holds outputs near the target, 0 to 1.
        target: φ, the threshold of the network's neurons.
    """

    weight: float = 0.05
    target: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("weight", self.weight)
        require_positive("target", self.target)

    def readout(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        return mean_readout(logits, lengths)

    def __call__(self, logits: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits = float_steps(logits)
        if lengths is not None:
            return self._of_lengths(logits, labels, lengths)
        # Every step has the same number of samples, so the mean over both is the mean over steps.
        everywhere = labels.expand(len(logits), *labels.shape).flatten(0, 1)
        per_step = self.entropy(logits.flatten(0, 1), everywhere)
        return (1 - self.weight) * per_step + self.weight * (logits - self.target).square().mean()

    def _of_lengths(self, logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """The loss of padded sequences: all of n steps weigh 1/n each."""
        require_lengths(lengths, logits)
        require(logits.dim() == 3, f"padded sequences need logits [T, B, K], not {tuple(logits.shape)}")
        there = within(lengths, len(logits))
        share = (there / lengths.to(logits.dtype))[there]
        every = labels.expand(len(logits), *labels.shape)[there]
        per_step = cross_entropy(logits[there], every, self.label_smoothing, self.class_weights, share)
        far = (logits[there] - self.target).square().mean(1)
        return (1 - self.weight) * per_step + self.weight * (far * share).sum() / len(lengths)


def cross_entropy(
    scores: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] = (),
    share: Tensor | None = None,
) -> Tensor:
    """Cross-entropy, the mean over all labels; those below 0 count for nothing, and none at all give 0.

    Args:
        scores: `[N, K, ...]`.
        labels: class numbers `[N, ...]`, or class probabilities `[N, K]`.
        label_smoothing: see `Loss`.
        class_weights: see `Loss`. With class probabilities every term has its class's weight, and the sum is
            divided by N, as torch does.
        share: what each row counts for `[N]`, for scores `[N, K]`; None: all count 1.

    Raises:
        InputError: if labels or weights do not fit the scores.
    """
    labels = labels if labels.is_floating_point() else labels.long()
    _require_fitting(scores, labels)
    weight = None
    if class_weights:
        require_weights(class_weights, scores.shape[1])
        weight = _on_device(class_weights, scores.device, scores.dtype)
    options: dict[str, Any] = {"label_smoothing": label_smoothing, "weight": weight}
    if share is not None:
        of_rows = F.cross_entropy(scores, labels, **options, reduction="none")
        weighs = share if weight is None or labels.is_floating_point() else share * weight[labels]
        return (of_rows * share).sum() / weighs.sum()
    if labels.is_floating_point() or labels.dim() == 1:
        return F.cross_entropy(scores, labels, **options)
    total = F.cross_entropy(scores, labels, **options, reduction="sum")
    counted = labels >= 0
    if weight is None:
        return total / counted.sum().clamp(min=1)
    return total / (weight[labels.clamp(min=0)] * counted).sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _require_fitting(scores: Tensor, labels: Tensor) -> None:
    """Raise `InputError` unless labels fit scores `[N, K, ...]`; never waits for a GPU."""
    one_each = (len(scores), *scores.shape[2:])
    if labels.shape != (scores.shape if labels.is_floating_point() else one_each):
        if labels.shape == one_each:
            hint = f"class numbers are whole, so convert {labels.dtype} with labels.long()"
        elif len(labels) != len(scores):
            hint = f"{len(scores)} samples went in, but there are {many(len(labels), 'label')}"
        else:
            hint = (
                "a class per pixel needs a network such as fcn_small, a class per image one such as vgg_small"
            )
        raise InputError(
            f"the network gives logits {tuple(scores.shape)} (B, K, ...), which do not fit labels "
            f"{tuple(labels.shape)}: {hint}"
        )
    if labels.is_floating_point() or not answers_at_once(labels.device) or torch.compiler.is_compiling():
        return
    classes, most = scores.shape[1], int(labels.max()) if labels.numel() else -1
    require(
        most < classes,
        f"labels must be from 0 to {classes - 1}, as the network has {classes} outputs, not {most}: are they "
        "numbered from 1, or num_classes too small?",
    )


def require_outputs(logits: Tensor, classes: int) -> None:
    """Raise `InputError` unless logits `[T, B, K, ...]` have an output for every class."""
    require(
        logits.dim() < 3 or logits.shape[2] == classes,
        f"the network gives logits {tuple(logits.shape)} (T, B, K, ...), but the data set has "
        f"{many(classes, 'class', 'es')}: its entry function must give num_classes outputs",
    )


def require_weights(class_weights: Sequence[float], classes: int) -> None:
    """Raise `InputError` unless there is a weight for every class."""
    require(
        len(class_weights) == classes,
        f"class_weights must have a number for each of the {classes} classes, not {len(class_weights)}",
    )


@lru_cache
def _on_device(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """The values as a tensor, made once: copying it in every step would stall a GPU's stream."""
    return torch.tensor(values, device=device, dtype=dtype)


def create_loss(name: str, label_smoothing: float = 0.0, **options: Any) -> Criterion:
    """A loss by its name in `LOSSES`; one that does not smooth labels can only have the smoothing 0.

    Raises:
        InputError: for an unknown name or option, or a value out of range.
    """
    if label_smoothing:
        options["label_smoothing"] = label_smoothing
    loss: Criterion = LOSSES.create(name, **options)
    return loss


def float_steps(logits: Tensor) -> Tensor:
    """Outputs `[T, B, K]` in float32 at least; raise `InputError` for fewer dimensions."""
    require(logits.dim() >= 3, f"logits must be [T, B, K], not of shape {tuple(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
