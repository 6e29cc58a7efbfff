"""Curved shapes: Dspike, and shapes that extend beyond their window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from a2sg.errors import require_positive
from a2sg.surrogate.registry import register_surrogate
from a2sg.surrogate.shape import Formula, Surrogate


@register_surrogate("dspike")
@dataclass(frozen=True, kw_only=True)
class Dspike(Surrogate):
    """f = b sech²(b x/(2β)) / (2 tanh(b/2)) inside the window (Li et al., Dspike, 2021). Area 2β.

    The published window is 0.5, where the area is 1 for every b.

    Args:
        temperature: b, above 0; near 0 the shape is a boxcar, for large b a narrow peak.
        area: see `Surrogate`, as for `scale`.
    """

    temperature: float = 3.0
    bounded: ClassVar[bool] = True
    mass: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("temperature", self.temperature)

    def profile(self, z: Tensor) -> Tensor:
        b = self.temperature
        return self._peak * _sech2(b * z / 2)

    def cumulative(self, z: Tensor) -> Tensor:
        b = self.temperature
        return torch.tanh(b * z / 2) / math.tanh(b / 2) + 1

    def formula(self) -> Formula | None:
        return Formula("sech2", self._peak, self.temperature)

    @property
    def _peak(self) -> float:
        return self.temperature / (2 * math.tanh(self.temperature / 2))


@register_surrogate("sigmoid")
@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """f = sech²(x/(2β)), the derivative of a logistic function scaled to height 1. Area 4β.

    The Sigmoid(α) of other libraries is `Sigmoid(area="unit")` with window 1/α.
    """

    bounded: ClassVar[bool] = False
    mass: ClassVar[float] = 4.0

    def profile(self, z: Tensor) -> Tensor:
        return _sech2(z / 2)

    def cumulative(self, z: Tensor) -> Tensor:
        return 4 * torch.sigmoid(z)

    def formula(self) -> Formula | None:
        return Formula("sech2", 1.0, 1.0)


@register_surrogate("arctan")
@dataclass(frozen=True)
class Arctan(Surrogate):
    """f = 1 / (1 + (x/β)²), the derivative of an arctangent. Area πβ.

    The ATan(α) of other libraries is `Arctan(area="unit")` with window 2/(πα).
    """

    bounded: ClassVar[bool] = False
    mass: ClassVar[float] = math.pi

    def profile(self, z: Tensor) -> Tensor:
        return 1 / (1 + z * z)

    def cumulative(self, z: Tensor) -> Tensor:
        return torch.atan(z) + math.pi / 2

    def formula(self) -> Formula | None:
        return Formula("arctan")


@register_surrogate("fast_sigmoid")
@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """f = 1 / (1 + |x|/β)² (Zenke and Ganguli, SuperSpike, 2018). Area 2β.

    The fast sigmoid with slope k of other libraries has window 1/k.
    """

    bounded: ClassVar[bool] = False
    mass: ClassVar[float] = 2.0

    def profile(self, z: Tensor) -> Tensor:
        return 1 / (1 + z.abs()) ** 2

    def cumulative(self, z: Tensor) -> Tensor:
        most = torch.finfo(z.dtype).max
        z = z.clamp(-most, most)  # infinity divided by infinity would be NaN
        return 1 + z / (1 + z.abs())

    def formula(self) -> Formula | None:
        return Formula("fast_sigmoid")


def _sech2(x: Tensor) -> Tensor:
    return torch.cosh(x) ** -2
