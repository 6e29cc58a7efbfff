"""What a kernel is compiled for: the neuron, the shape of its input, and the results to compute."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from a2sg.kernels.drive import POTENTIAL, Affine, Drive
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.inductor import Shape
from a2sg.kernels.watch import Gradient

Extent = Literal["layer", "channel"]
"""Whether a constant that is a tensor has one number, or one for each channel."""


class Kind(NamedTuple):
    """What kernels are compiled for."""

    dynamics: Dynamics
    steps: int
    shared: bool
    """See `Drive.shared`."""
    decay: float | Extent
    threshold: Extent | None
    """None for a number, which the dynamics hold."""
    initial: bool
    channels: Literal["inner", "outer"] | None
    """Where channels are, if kernels must tell them apart: innermost, or around the rest of a sample."""
    affine: bool
    addend: torch.dtype | None
    dtype: torch.dtype
    device: torch.device
    lane: int

    @property
    def step(self) -> Shape:
        """Shape of one step, as kernels take it."""
        if self.channels is None:
            return ("rows", self.lane)
        inner = self.channels == "inner"
        return ("rows", "channels", self.lane) if inner else ("rows", "channels", "space", self.lane)

    @property
    def each(self) -> Shape:
        """Shape of a constant with one number for each channel, to broadcast against a step."""
        return ("channels", self.lane) if self.channels == "inner" else ("channels", 1, 1)

    def inputs(self) -> list[tuple[Shape, torch.dtype]]:
        """Shapes and dtypes of the inputs, in the order of `_inputs` in `compiled`."""
        wide = POTENTIAL[self.dtype]
        found: list[tuple[Shape, torch.dtype]] = [
            ((1 if self.shared else self.steps, *self.step), self.dtype)
        ]
        extents: dict[object, Shape] = {"layer": (), "channel": self.each}
        found += [(extents[x], wide) for x in (self.decay, self.threshold) if x in extents]
        found += [(self.step, wide)] if self.initial else []
        found += [(self.each, wide)] * 2 if self.affine else []
        return found + ([((self.steps, *self.step), self.addend)] if self.addend else [])

    def drive(self, inputs: list[Tensor]) -> Drive:
        """The inputs as a normalised drive; removes them from the list."""
        current = inputs.pop(0)
        decay = inputs.pop(0) if isinstance(self.decay, str) else self.decay
        threshold = inputs.pop(0) if self.threshold else None
        initial = inputs.pop(0) if self.initial else None
        if self.affine:
            current = Affine(inputs.pop(0), inputs.pop(0), (0, 0)).apply(current)
        if self.addend:
            current = current + inputs.pop(0)
        return Drive(current, self.steps, decay, initial, threshold=threshold)


class Wanted(NamedTuple):
    """The inputs and results of a backward kernel."""

    spikes: bool
    """Whether there is a gradient of the spikes."""
    final: bool
    """Whether there is a gradient of the final potential."""
    decay: bool
    threshold: bool
    steps: Gradient | None
    """The gradient that a watcher watches, to show it each step; None without a watcher."""
    window: torch.dtype
