"""How curvature grows as the window narrows: the paper has |H| = Ω(x² / β²) for shapes of one area.

In a small dense network whose weights stay the same, only the window changes. The caller chooses the measure
of curvature: a Hessian's norm, or the top eigenvalue of the Fisher, of any field of gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from a2sg.errors import require, require_count, require_positive
from a2sg.neuron import LIF
from a2sg.statistics import bonferroni, mean, student_interval
from a2sg.study.measure.result import Result
from a2sg.surrogate import Surrogate, WindowedAffine
from a2sg.surrogate.registry import side_by_side

UNIT_AREA: dict[str, Surrogate] = {
    name: shape for name, shape in side_by_side("unit").items() if isinstance(shape, WindowedAffine)
}
"""Shapes whose integral is 1 at every window."""

WINDOWS = tuple(0.1 * 10 ** (k / 8) for k in range(9))
"""One decade, from 0.1 to 1, with equal ratios."""

Curvature = Callable[[nn.Module, tuple[Tensor, Tensor]], float]
"""The curvature of a model on a batch (inputs, targets)."""


@dataclass(frozen=True)
class Controlled:
    """A small dense spiking network, the same one whatever surrogate and window: linear-LIF, n times, linear.

    Args:
        inputs: features of the input `[T, B, inputs]`.
        hidden: neurons of each layer.
        outputs: classes; the network gives logits `[B, outputs]`, means over time.
        steps: T.
    """

    inputs: int = 8
    hidden: tuple[int, ...] = (8, 8)
    outputs: int = 3
    steps: int = 2

    def network(self, surrogate: Surrogate, window: float, seed: int) -> nn.Module:
        """The network, float64, with the weights of a seed."""
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for features, neurons in pairwise((self.inputs, *self.hidden)):
            layers += [nn.Linear(features, neurons), LIF(self.steps, surrogate=surrogate, window=window)]
        layers += [nn.Linear((self.inputs, *self.hidden)[-1], self.outputs), MeanOverTime()]
        network = nn.Sequential(*layers).double()
        with torch.no_grad():
            for parameter in network.parameters():
                # The spread of potentials is one threshold, their mean about half of one.
                weight = parameter.dim() > 1
                scale = 1 / parameter.shape[-1] ** 0.5 if weight else 0.1
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(scale * drawn if weight else scale * drawn + 0.5)
        return network

    def batch(self, samples: int, seed: int) -> tuple[Tensor, Tensor]:
        """Gaussian inputs `[T, B, inputs]`, float64, and class numbers `[B]`."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.steps, samples, self.inputs, generator=generator, dtype=torch.float64)
        return x, torch.randint(self.outputs, (samples,), generator=generator)


class MeanOverTime(nn.Module):
    """`[T, B, K]` to `[B, K]`."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.mean(0)


@dataclass(frozen=True)
class ScalePoint:
    """The curvature of one network at one window."""

    shape: str
    seed: int
    window: float
    curvature: float


@dataclass(frozen=True)
class PowerLaw(Result):
    """curvature ~ window ** exponent: slopes of log curvature on log window, one per seed, and their mean.

    Attributes:
        shape: of the surrogate.
        exponent: the mean slope; the paper's claim is at most -2.
        low: lower end of its Student-t interval over seeds; None of one seed.
        high: upper end.
        level: confidence of the interval.
        seeds: how many networks.
        left_out: points without a curvature above 0.
        residual: root mean square distance of log curvature from the fitted lines: 0 for a true power law.
    """

    shape: str
    exponent: float
    low: float | None
    high: float | None
    level: float
    seeds: int
    left_out: int
    residual: float


def curvature_by_window(
    curvature: Curvature,
    *,
    shapes: Mapping[str, Surrogate] = UNIT_AREA,
    windows: Sequence[float] = WINDOWS,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    samples: int = 32,
    controlled: Controlled = Controlled(),
) -> list[ScalePoint]:
    """The curvature of a controlled network for every shape, window and seed (of weights and data).

    Args:
        curvature: called as `curvature(model, (inputs, targets))`; gives a number above 0.
        shapes: by name; of unit area, so that windows change nothing but the width.
        windows: half-widths to try.
        seeds: a network and a batch for each.
        samples: of a batch.
        controlled: sizes of the network.

    Raises:
        InputError: for windows out of range, or none of shapes, windows or seeds.
    """
    require(bool(shapes and windows and seeds), "give at least one shape, one window and one seed")
    for window in windows:
        require_positive("window", window)
    require_count("samples", samples)
    batches = {seed: controlled.batch(samples, seed) for seed in seeds}
    return [
        ScalePoint(name, seed, window, curvature(controlled.network(shape, window, seed), batches[seed]))
        for name, shape in shapes.items()
        for seed in seeds
        for window in windows
    ]


def power_laws(points: Sequence[ScalePoint], *, level: float = 0.95) -> list[PowerLaw]:
    """Fit curvature ~ window ** exponent to the points of every shape.

    Points of one network are not independent, so a line is fitted to each network, and the interval is over
    their slopes.

    Args:
        points: of `curvature_by_window`.
        level: confidence of the intervals.

    Raises:
        InputError: for a seed with fewer than 2 windows of a curvature above 0, or a level out of range.
    """
    bonferroni(level, 1)  # checks it
    return [
        _fit(shape, [point for point in points if point.shape == shape], level)
        for shape in dict.fromkeys(point.shape for point in points)
    ]


def _fit(shape: str, points: Sequence[ScalePoint], level: float) -> PowerLaw:
    slopes, squares, used = [], [], 0
    for seed in dict.fromkeys(point.seed for point in points):
        known = [p for p in points if p.seed == seed and math.isfinite(p.curvature) and p.curvature > 0]
        x, y = (np.log([getattr(point, name) for point in known]) for name in ("window", "curvature"))
        few = len(set(x))
        text = f"{shape}, seed {seed}: a slope needs at least 2 windows with a curvature above 0, not {few}"
        require(few >= 2, text)
        x, y = x - x.mean(), y - y.mean()
        slopes.append(float(x @ y / (x @ x)))
        squares += ((y - slopes[-1] * x) ** 2).tolist()
        used += len(known)
    exponent, low, high = student_interval(slopes, level)
    residual = math.sqrt(mean(squares))
    return PowerLaw(shape, exponent, low, high, level, len(slopes), len(points) - used, residual)
