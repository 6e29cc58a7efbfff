"""Shapes that are straight lines inside a window: boxcar, triangle and the ramps of A2SG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from a2sg.errors import InputError, require_positive, require_share
from a2sg.surrogate.registry import register_surrogate
from a2sg.surrogate.shape import WindowedAffine


@register_surrogate("boxcar")
@dataclass(frozen=True)
class Boxcar(WindowedAffine):
    """f = 1 inside the window: the usual surrogate of CNN SNNs (STBP-tdBN uses window 0.5). Area 2β."""

    offset: ClassVar[float] = 1.0
    slope: ClassVar[float] = 0.0


@register_surrogate("triangle")
@dataclass(frozen=True)
class Triangle(WindowedAffine):
    """f = 1 - |x|/β: the least variation among symmetric shapes (A2SG, theorem 4.1). Area β."""

    offset: ClassVar[float] = 1.0
    slope: ClassVar[float] = -1.0


@register_surrogate("asymmetric")
@dataclass(frozen=True, kw_only=True)
class Asymmetric(WindowedAffine):
    """f = x/(2β) + h: a ramp that rises with the potential (A2SG). Values h-½ .. h+½, area 2βh.

    Args:
        bias: h, the paper's gradient bias, at least 1/2. A lower h gives less gradient at low potentials.
        area: see `Surrogate`, as for `scale`.
    """

    bias: float = 0.5
    symmetric: ClassVar[bool] = False
    examples: ClassVar = ({"bias": 0.5}, {"bias": 0.8})
    grid: ClassVar = tuple({"bias": h} for h in (0.5, 0.6, 0.7, 0.8, 0.9))
    slope: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("bias", self.bias)
        if self.bias < 0.5:
            raise InputError(
                f"bias must be at least 0.5, not {self.bias}: below it the low edge of the ramp is negative"
            )

    @property
    def offset(self) -> float:
        return self.bias


@register_surrogate("pinned")
@dataclass(frozen=True, kw_only=True)
class PinnedAsymmetric(WindowedAffine):
    """f = (1-b) x/(2β) + (1+b)/2: a ramp from `floor` to a top pinned at 1. Area (1+b)β.

    Args:
        floor: b, the value at the lower edge, 0 to 1. Later code of the paper's lab uses 0.6 (VGG and
            Spikformer) and 0.8 (ResNet).
        area: see `Surrogate`, as for `scale`.
    """

    floor: float = 0.6
    symmetric: ClassVar[bool] = False
    examples: ClassVar = ()  # the same ramps as `Asymmetric`, with other heights

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("floor", self.floor)

    @property
    def offset(self) -> float:
        return (1 + self.floor) / 2

    @property
    def slope(self) -> float:
        return (1 - self.floor) / 2
