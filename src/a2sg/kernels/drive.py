"""What drives a neuron through T steps, as every backend takes it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Affine(NamedTuple):
    """A normalisation that is still to be done: current · scale + shift, per channel."""

    scale: Tensor
    """`[C]`, in the dtype of the potential."""
    shift: Tensor

    def over(self, shape: torch.Size) -> Affine:
        """Viewed so as to broadcast against a current of `shape` `[T, B, C, ...]`."""
        view = (-1, *(1,) * (len(shape) - 3))
        return Affine(self.scale.view(view), self.shift.view(view))

    def apply(self, current: Tensor) -> Tensor:
        """The normalised current; both parts must broadcast against it."""
        return current.to(self.scale.dtype) * self.scale + self.shift


class Drive(NamedTuple):
    """The input of a neuron."""

    current: Tensor
    """`[T, B, ...]`; `[1, B, ...]` is the input of every step."""
    steps: int
    """T."""
    decay: Tensor | float
    """Leak per step; a 0-d tensor if it is trained."""
    initial: Tensor | None
    """Potential before the first step `[B, ...]`; None is rest."""
    affine: Affine | None = None
    addend: Tensor | None = None
    """`[T, B, ...]`, added to the normalised current: a shortcut. No current is shared then."""

    @property
    def shared(self) -> bool:
        """Whether one current serves all of several steps."""
        return self.steps > len(self.current)

    def normalized(self) -> Drive:
        """The same with the affine part done and the addend added."""
        if self.affine is None:
            return self
        current = self.affine.over(self.current.shape).apply(self.current)
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
    """Of the (normalised) current, in its shape."""
    decay: Tensor | None
    initial: Tensor | None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of potentials for an input of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32
