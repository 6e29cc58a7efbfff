"""An affine shape's δ in three passes over the data, where plain torch needs eight.

The formula is `WindowedAffine.coefficients`; only rounding differs from `derivative`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2sg.adopt.gates import Distance, Multiples
from a2sg.kernels.gate import Gate
from a2sg.surrogate import WindowedAffine


@dataclass(frozen=True)
class Ramp:
    """f = height · (1 + tilt · y) inside a window, with y = x, or |x| for a symmetric shape.

    Attributes:
        edge: the first number above the window, in float64.
        edge_single: the same in float32.
        multiples: the thresholds, if there are several.
    """

    window: float
    height: float
    tilt: float
    symmetric: bool
    edge: float
    edge_single: float
    multiples: Multiples | None

    def delta(self, potential: Tensor, upstream: Tensor) -> Tensor:
        """δ = upstream · f, of potentials in float32 or float64."""
        edge = self.edge if potential.dtype == torch.float64 else self.edge_single
        if self.multiples is None:
            return self._inside(potential, upstream, -edge, edge)
        reached, above = self.multiples.nearest(potential)
        delta = self._inside(reached, upstream, -edge, edge)
        return delta.add_(self._inside(above, upstream, -self.window, edge))

    def _inside(self, distance: Tensor, upstream: Tensor, low: float, high: float) -> Tensor:
        """δ where low < distance < high."""
        delta: Tensor = torch.ops.aten.hardtanh_backward(upstream, distance, low, high)  # upstream, or 0
        if self.tilt:
            delta.addcmul_(delta, distance.abs() if self.symmetric else distance, value=self.tilt)
        return delta if self.height == 1 else delta.mul_(self.height)


def ramps(gate: Gate, window: Tensor) -> list[Ramp | None]:
    """A gate's surrogate at each window of `[T]`; None if it is not a ramp, or not a simple one."""
    shape = gate.surrogate
    if not isinstance(gate, Distance | Multiples) or not isinstance(shape, WindowedAffine):
        return [None] * len(window)
    widest = gate.reach if isinstance(gate, Multiples) else math.inf
    windows = window.detach().cpu().double()
    height, slope = shape.coefficients(windows)
    return [
        Ramp(
            b,
            p,
            q / p,
            shape.symmetric,
            math.nextafter(b, math.inf),
            float(np.nextafter(np.float32(b), np.float32(np.inf))),
            gate if isinstance(gate, Multiples) else None,
        )
        if b <= widest
        else None
        for p, q, b in zip(height.tolist(), slope.tolist(), windows.tolist(), strict=True)
    ]
