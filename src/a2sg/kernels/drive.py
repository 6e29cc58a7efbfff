"""What drives a neuron through T steps, as every backend takes it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

POTENTIAL = defaultdict(lambda: torch.float32, {torch.float32: torch.float32, torch.float64: torch.float64})
"""The dtype of potentials, by that of the input."""


class Affine(NamedTuple):
    """A normalisation that is still to be done: current · scale + shift, per channel `[C]`."""

    scale: Tensor
    shift: Tensor
    size: tuple[int, int]
    """T and B of the current `[T·B, C, ...]`; (1, B) is the input of every step."""

    def over(self, inner: int) -> Affine:
        """Viewed so as to broadcast against a current `[..., C, ...]` with `inner` dimensions after C."""
        shape = (-1, *(1,) * inner)
        return Affine(self.scale.view(shape), self.shift.view(shape), self.size)

    def apply(self, current: Tensor) -> Tensor:
        """The normalised current, in the dtype of the potential; both parts must broadcast against it."""
        return current.to(self.scale.dtype) * self.scale + self.shift


class Joined(NamedTuple):
    """That the statistics of a batch are those of all ranks of a distributed run."""

    total: Tensor
    """How many values per channel they are of, 0-d float64."""
    counts: bool
    """Whether any of them are this rank's; else no gradient goes through them."""


class Norm(NamedTuple):
    """A batch normalisation per channel `[C]`, of a current as weights give it `[T·B, C, ...]`.

    (current - mean) · inverse · weight + bias.
    """

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor
    inverse: Tensor
    """1 / sqrt(variance + eps)."""
    of_batch: bool
    """Whether mean and inverse are those of this very batch, so that gradients go through them."""
    size: tuple[int, int]
    """See `Affine.size`."""
    joined: Joined | None = None
    """Whose they are, if not this batch's alone."""

    def affine(self) -> Affine:
        """The same as one multiplication and one addition."""
        weight, bias, mean, inverse, _, size, _ = self
        scale = inverse if weight is None else weight * inverse
        shift = -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)
        return Affine(scale, shift, size)


class Drive(NamedTuple):
    """The input of a neuron."""

    current: Tensor
    """`[T, B, ...]`, with an affine part `[T·B, C, ...]`; that of one step is the input of every step."""
    steps: int
    """T."""
    decay: Tensor | float
    """Leak per step: a number, or a tensor as `spread` gives it."""
    initial: Tensor | None
    """Potential before the first step `[B, ...]`; None is rest."""
    affine: Affine | None = None
    addend: Tensor | None = None
    """`[T, B, ...]`, added to the normalised current: a shortcut. No current is shared then."""
    plan: Any = None
    """What a backend has prepared for inputs like this; see `Spikes.plan`."""
    threshold: Tensor | None = None
    """The threshold, if it is a tensor, as `spread` gives it: the gate's own is then counted from it."""

    @property
    def by_channel(self) -> bool:
        """Whether the decay or the threshold has channels."""
        return any(isinstance(x, Tensor) and x.dim() > 0 for x in (self.decay, self.threshold))

    @property
    def held(self) -> int:
        """How many steps the current holds: T, or 1."""
        return self.current.shape[0] if self.affine is None else self.affine.size[0]

    @property
    def shared(self) -> bool:
        """Whether one current serves all of several steps."""
        return self.steps > self.held

    @property
    def neurons(self) -> int:
        """Elements of a step."""
        return self.current.numel() // self.held

    def normalized(self) -> Drive:
        """The same with the normalisation done and the addend added: the current is `[T, B, ...]`."""
        if self.affine is None:
            return self
        over = self.affine.over(self.current.dim() - 2)
        current = over.apply(self.current).unflatten(0, over.size)
        if self.addend is not None:
            current = current + self.addend
        return self._replace(current=current, affine=None, addend=None)


class Spikes(NamedTuple):
    """What a forward pass gives."""

    spikes: Tensor
    """`[T, B, ...]` in the dtype of the current."""
    final: Tensor | None
    """v[T] `[B, ...]`; None if it was not asked for."""
    total: Tensor | None
    """Σ v[T]: not finite if any potential has ever been infinite or NaN. None if not at hand."""
    plan: Any = None
    """What the backend wants to be given as `Drive.plan` for inputs of the same shapes, strides and types."""


class Arriving(NamedTuple):
    """Gradients of what a forward pass gave, as they arrive at the backward pass; None is 0."""

    spikes: Tensor | None
    """`[T, B, ...]`."""
    final: Tensor | None = None
    """`[B, ...]`."""
    potentials: Tensor | None = None
    """Of u, before the reset `[T, B, ...]`; the reference alone takes it."""


class Gradients(NamedTuple):
    """What a backward pass gives."""

    current: Tensor
    """Of the (normalised) current, `[T, B, ...]` or in its shape."""
    decay: Tensor | None
    initial: Tensor | None
    threshold: Tensor | None = None


def spread(constant: Tensor | float, step: int, dtype: torch.dtype) -> Tensor | float:
    """A neuron's constant, so that it broadcasts against a step; differentiable.

    Args:
        constant: a number, as it is; or a tensor of one, or of one for each channel `[C]`.
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
    """The gradient of what `spread` gave, from those of every element of a step `[B, C, ...]`, or 0."""
    assert isinstance(constant, Tensor)
    return terms.sum_to_size(constant.shape) if isinstance(terms, Tensor) else torch.zeros_like(constant)
