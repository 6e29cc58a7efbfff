"""Surrogate shapes: what stands in for ds/du, as pure formulas of distance and window.

Every shape answers one question, `derivative(distance, window)`, with `distance = u - threshold`.
Both arguments broadcast, so a window may differ per step, per layer or per channel. Nothing here
knows about autograd: training, search, analysis and kernels all read the same formula. Its integral,
`primitive`, is the smooth spike of which the shape is the true derivative; analysis alone asks for it.

A shape is a profile of z = distance / window: the window only stretches it.

It comes with its published height (`area="free"`) or scaled to integral 1 (`area="unit"`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from a2sg.errors import InputError, require, require_choice, require_positive, require_share
from a2sg.registry import Registry

__all__ = [
    "SURROGATES",
    "Arctan",
    "Asymmetric",
    "Boxcar",
    "Dspike",
    "FastSigmoid",
    "Formula",
    "PinnedAsymmetric",
    "Sigmoid",
    "Surrogate",
    "Triangle",
    "WindowedAffine",
    "create_surrogate",
    "register_surrogate",
]

Area = Literal["free", "unit"]


class Formula(NamedTuple):
    """A profile as kernels know it, with two numbers.

    `affine`: a + bz; `affine_abs`: a + b|z|; `sech2`: a sech²(bz/2); `arctan`; `fast_sigmoid`.
    """

    kind: Literal["affine", "affine_abs", "sech2", "arctan", "fast_sigmoid"]
    a: float = 0.0
    b: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Surrogate(ABC):
    """A surrogate derivative f(distance; window).

    Args:
        area: `"free"` keeps the shape's own height, `"unit"` scales it to integral 1.

    Raises:
        InputError: for an unknown `area` or a shape parameter out of range.
    """

    area: Area = "free"
    bounded: ClassVar[bool]
    """Whether the derivative is 0 outside |distance| <= window."""
    symmetric: ClassVar[bool] = True
    """Whether it is the same on either side of the threshold."""
    examples: ClassVar[tuple[Mapping[str, float], ...]] = ({},)
    """Arguments of the variants that analyses put side by side; () leaves the shape out."""
    grid: ClassVar[tuple[Mapping[str, float], ...]] = ()
    """Likewise where one network is looked at closely; () is `examples`."""

    def __post_init__(self) -> None:
        require_choice("area", self.area, ("free", "unit"))

    def derivative(
        self, distance: Tensor, window: Tensor | float, lower_edge: bool | Tensor = True
    ) -> Tensor:
        """f(distance; window), broadcast over both.

        Args:
            distance: membrane potential minus threshold, any shape and floating dtype.
            window: half-width (the paper's β), above 0; a number or a tensor that broadcasts.
            lower_edge: whether the lower edge is inside the window of a bounded shape. Windows around
                neighbouring thresholds may touch: their common edge belongs to the lower one alone.

        Returns:
            The derivative in the dtype of `distance`.
        """
        window = torch.as_tensor(window, dtype=distance.dtype, device=distance.device)
        value = self.profile(distance * (1 / window))  # a division per window, not per distance
        if self.area == "unit":
            value = value / (self.mass * window)
        if self.bounded:
            inside = distance.abs() <= window
            if lower_edge is not True:
                inside &= (distance > -window) | lower_edge
            value = torch.where(inside, value, value.new_zeros(()))
        return value

    def primitive(self, distance: Tensor, window: Tensor | float) -> Tensor:
        """F(distance; window), the integral of f from minus infinity: 0 far below, `integral` far above.

        Differentiable by `distance`, and then it is `derivative`, the edges of a bounded shape included.

        Args:
            distance: as for `derivative`.
            window: likewise.

        Returns:
            The integral in the dtype of `distance`.
        """
        window = torch.as_tensor(window, dtype=distance.dtype, device=distance.device)
        if self.bounded:
            # Not torch.clamp: its gradient at the edges changes from one torch to another.
            distance = torch.where(distance > window, window, distance)
            distance = torch.where(distance < -window, -window, distance)
        value = self.cumulative(distance * (1 / window))
        return value / self.mass if self.area == "unit" else value * window

    def integral(self, window: float) -> float:
        """The area under f: 1, or `mass` times the window."""
        return 1.0 if self.area == "unit" else self.mass * window

    @property
    @abstractmethod
    def mass(self) -> float:
        """The integral of the free-height shape at window 1; it grows with the window."""

    @abstractmethod
    def profile(self, z: Tensor) -> Tensor:
        """The free-height shape at z = distance / window; of a bounded one what counts is |z| <= 1."""

    @abstractmethod
    def cumulative(self, z: Tensor) -> Tensor:
        """The integral of `profile` up to z: from -1 for a bounded shape, else from minus infinity."""

    def formula(self) -> Formula | None:
        """`profile` for the kernels of the `triton` backend; None if it is none of theirs."""
        return None


@dataclass(frozen=True)
class WindowedAffine(Surrogate):
    """f = offset + slope · z inside the window, |z| for a symmetric shape; at least 0 everywhere.

    Because f is affine, its sums over a layer follow from a few moments for every window at once
    (`a2sg.kernels.sums`).
    """

    bounded: ClassVar[bool] = True

    @property
    @abstractmethod
    def offset(self) -> float:
        """Value at the threshold."""

    @property
    @abstractmethod
    def slope(self) -> float:
        """How f changes from the threshold to the upper edge."""

    @property
    def mass(self) -> float:
        return 2 * self.offset + (self.slope if self.symmetric else 0.0)

    def profile(self, z: Tensor) -> Tensor:
        return self.offset + self.slope * self.ordinate(z)

    def cumulative(self, z: Tensor) -> Tensor:
        bend = z * z.abs() + 1 if self.symmetric else z * z - 1
        return self.offset * (z + 1) + self.slope * bend / 2

    def formula(self) -> Formula | None:
        return Formula("affine_abs" if self.symmetric else "affine", self.offset, self.slope)

    def ordinate(self, distance: Tensor) -> Tensor:
        """What f is affine in: |distance| or distance."""
        return distance.abs() if self.symmetric else distance

    def coefficients(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q), each in the shape of `window`, of f = p + q · ordinate(distance) inside the window."""
        height = 1 / (self.mass * window) if self.area == "unit" else torch.ones_like(window)
        return self.offset * height, self.slope * height / window


Shape = TypeVar("Shape", bound=type[Surrogate])

SURROGATES: Registry[type[Surrogate]] = Registry("surrogate")
"""Names that recipes and the command line use."""


def register_surrogate(name: str) -> Callable[[Shape], Shape]:
    """A decorator: recipes, arms, the command line and analyses then know a shape by `name`.

    It is put on a dataclass derived from `Surrogate`, whose fields are its options. The first line of the
    docstring is what `a2sg list surrogates` says of it.

    Raises:
        InputError: if another shape has that name.
    """
    return SURROGATES.register(name)


@register_surrogate("boxcar")
@dataclass(frozen=True)
class Boxcar(WindowedAffine):
    """f = 1 inside the window: the usual surrogate of CNN SNNs (STBP-tdBN uses window 0.5). Area 2β."""

    offset: ClassVar[float] = 1.0
    slope: ClassVar[float] = 0.0


@register_surrogate("triangle")
@dataclass(frozen=True)
class Triangle(WindowedAffine):
    """f = 1 - |x|/β: least variation among symmetric shapes (A2SG, theorem 4.1). Area β."""

    offset: ClassVar[float] = 1.0
    slope: ClassVar[float] = -1.0


@register_surrogate("asymmetric")
@dataclass(frozen=True, kw_only=True)
class Asymmetric(WindowedAffine):
    """f = x/(2β) + h: a ramp that rises with the potential (A2SG). Values h-½ .. h+½, area 2βh.

    Args:
        bias: h, the paper's gradient bias, at least 1/2. Lower h: less gradient at low potentials.
        area: see `Surrogate`.
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
        floor: b, the value at the low edge, 0 to 1. 0.6 and 0.8 are the values of later code of the
            paper's lab (VGG and Spikformer, ResNet).
        area: see `Surrogate`.
    """

    floor: float = 0.6
    symmetric: ClassVar[bool] = False
    examples: ClassVar = ()  # the same ramps as `Asymmetric`, of other heights

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("floor", self.floor)

    @property
    def offset(self) -> float:
        return (1 + self.floor) / 2

    @property
    def slope(self) -> float:
        return (1 - self.floor) / 2


@register_surrogate("dspike")
@dataclass(frozen=True, kw_only=True)
class Dspike(Surrogate):
    """f = b sech²(b x/(2β)) / (2 tanh(b/2)) inside the window (Li et al., Dspike, 2021). Area 2β.

    As published the window is 0.5, where the area is 1 whatever b.

    Args:
        temperature: b, above 0; towards 0 a boxcar, towards infinity a spike.
        area: see `Surrogate`.
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

    The Sigmoid(α) of other libraries is `Sigmoid(area="unit")` at window 1/α.
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

    The ATan(α) of other libraries is `Arctan(area="unit")` at window 2/(πα).
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

    The fast sigmoid of slope k of other libraries is window 1/k.
    """

    bounded: ClassVar[bool] = False
    mass: ClassVar[float] = 2.0

    def profile(self, z: Tensor) -> Tensor:
        return 1 / (1 + z.abs()) ** 2

    def cumulative(self, z: Tensor) -> Tensor:
        most = torch.finfo(z.dtype).max
        z = z.clamp(-most, most)  # infinity over infinity has no value
        return 1 + z / (1 + z.abs())

    def formula(self) -> Formula | None:
        return Formula("fast_sigmoid")


def _sech2(x: Tensor) -> Tensor:
    return torch.cosh(x) ** -2


def side_by_side(area: Area = "free", close: bool = False) -> dict[str, Surrogate]:
    """The shapes that analyses compare, by name: "asymmetric 0.5" is that of bias 0.5.

    Args:
        area: of all of them.
        close: whether by `Surrogate.grid` rather than by `Surrogate.examples`.
    """
    return {
        " ".join([name.replace("_", " "), *map(str, options.values())]): shape(area=area, **options)
        for name, shape in SURROGATES.items()
        for options in (close and shape.grid) or shape.examples
    }


def create_surrogate(name: str, **options: float | str) -> Surrogate:
    """A surrogate by its name in `SURROGATES`.

    Raises:
        InputError: for an unknown name, or an option that the shape does not take.
    """
    cls = SURROGATES.find(name)
    known = {option.name for option in fields(cls)}
    for option in options:
        require(option in known, f"surrogate {name!r} takes {', '.join(sorted(known))}, not {option!r}")
    return cls(**options)  # type: ignore[arg-type]
