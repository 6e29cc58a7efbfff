"""The input of a neuron over T steps, and the results of its passes, for all backends."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

POTENTIAL = defaultdict(lambda: torch.float32, {torch.float32: torch.float32, torch.float64: torch.float64})
"""The dtype of potentials, by the dtype of the input."""


class Affine(NamedTuple):
    """A normalisation yet to be applied: current · scale + shift, per channel `[C]`."""

    scale: Tensor
    shift: Tensor
    size: tuple[int, int]
    """T and B of the current `[T·B, C, ...]`; (1, B) is the input of every step."""

    def over(self, inner: int) -> Affine:
        """The same, broadcasting against a current `[..., C, ...]` with `inner` dimensions after C."""
        shape = (-1, *(1,) * inner)
        return Affine(self.scale.view(shape), self.shift.view(shape), self.size)

    def apply(self, current: Tensor) -> Tensor:
        """The normalised current, in the dtype of the potential; both parts must broadcast against it."""
        return current.to(self.scale.dtype) * self.scale + self.shift


class Joined(NamedTuple):
    """Marks batch statistics as those over all ranks of a distributed run."""

    total: Tensor
    """Number of values per channel, over all ranks; 0-d float64."""
    counts: bool
    """Whether this rank contributed any of them; if not, no gradient flows through them."""


class Norm(NamedTuple):
    """A batch normalisation per channel `[C]`, of the output `[T·B, C, ...]` of a weight layer.

    (current - mean) · inverse · weight + bias.
    """

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor
    inverse: Tensor
    """1 / sqrt(variance + eps)."""
    of_batch: bool
    """Whether mean and inverse come from this batch, so that gradients flow through them."""
    size: tuple[int, int]
    """See `Affine.size`."""
    joined: Joined | None = None
    """Set if they come from all ranks, not from this batch alone."""

    def affine(self) -> Affine:
        """The same as one multiplication and one addition."""
        weight, bias, mean, inverse, _, size, _ = self
        scale = inverse if weight is None else weight * inverse
        shift = -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)
        return Affine(scale, shift, size)


class Drive(NamedTuple):
    """The input of a neuron."""

    current: Tensor
    """`[T, B, ...]`, or `[T·B, C, ...]` with an affine part; a current of one step is the input of all."""
    steps: int
    """T."""
    decay: Tensor | float
    """Leak per step: a number, or a tensor as `spread` gives it."""
    initial: Tensor | None
    """Potential before the first step `[B, ...]`; None is rest."""
    affine: Affine | None = None
    addend: Tensor | None = None
    """`[T, B, ...]`, added to the normalised current: a shortcut. Steps then cannot share a current."""
    plan: Any = None
    """What a backend has prepared for inputs like this; see `Spikes.plan`."""
    threshold: Tensor | None = None
    """The threshold, if it is a tensor, as `spread` gives it: the gate's thresholds are relative to it."""

    @property
    def by_channel(self) -> bool:
        """Whether the decay or the threshold has channels."""
        return any(isinstance(x, Tensor) and x.dim() > 0 for x in (self.decay, self.threshold))

    @property
    def held(self) -> int:
        """Number of steps in the current: T, or 1."""
        return self.current.shape[0] if self.affine is None else self.affine.size[0]

    @property
    def shared(self) -> bool:
        """Whether several steps share one current."""
        return self.steps > self.held

    @property
    def neurons(self) -> int:
        """Elements of a step."""
        return self.current.numel() // self.held

    def normalized(self) -> Drive:
        """The same with the normalisation applied and the addend added: the current is `[T, B, ...]`."""
        if self.affine is None:
            return self
        over = self.affine.over(self.current.dim() - 2)
        current = over.apply(self.current).unflatten(0, over.size)
        if self.addend is not None:
            current = current + self.addend
        return self._replace(current=current, affine=None, addend=None)


class Spikes(NamedTuple):
    """The results of a forward pass."""

    spikes: Tensor
    """`[T, B, ...]` in the dtype of the current."""
    final: Tensor | None
    """v[T] `[B, ...]`; None unless requested."""
    total: Tensor | None
    """Σ v[T]: not finite if any potential has ever been infinite or NaN. None if not computed."""
    plan: Any = None
    """To pass as `Drive.plan` with the next input of the same shapes, strides and types."""


class Arriving(NamedTuple):
    """Gradients of a forward pass's results, as they arrive at the backward pass; None is 0."""

    spikes: Tensor | None
    """`[T, B, ...]`."""
    final: Tensor | None = None
    """`[B, ...]`."""
    potentials: Tensor | None = None
    """Of u, before the reset `[T, B, ...]`; only the reference backend supports it."""


class Gradients(NamedTuple):
    """The results of a backward pass."""

    current: Tensor
    """Of the (normalised) current, `[T, B, ...]` or in its shape."""
    decay: Tensor | None
    initial: Tensor | None
    threshold: Tensor | None = None


def spread(constant: Tensor | float, step: int, dtype: torch.dtype) -> Tensor | float:
    """A neuron's constant, broadcasting against a step; differentiable.

    Args:
        constant: a number, returned unchanged; or a tensor with one value, or one for each channel `[C]`.
        step: dimensions of a step `[B, C, ...]`.
        dtype: of the potential.

    Returns:
        A number, or a tensor that is 0-d or `[C, 1, ...]`.
    """
    if not isinstance(constant, Tensor):
        return constant
    constant = constant.to(dtype)
    if constant.numel() > 1:
        return constant.view(-1, *(1,) * (step - 2))
    return constant.view(()) if constant.dim() else constant


def gathered(terms: Tensor | float, constant: Tensor | float | None) -> Tensor:
    """The gradient of a constant from `spread`, from those of every element of a step `[B, C, ...]`, or 0."""
    assert isinstance(constant, Tensor)
    return terms.sum_to_size(constant.shape) if isinstance(terms, Tensor) else torch.zeros_like(constant)
