"""Base classes of surrogate shapes: profiles of z = distance / window, which the window only stretches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from a2sg.errors import require_choice, require_positive

Area = Literal["free", "unit"]


class Formula(NamedTuple):
    """A profile in the form that kernels take: a kind and two numbers.

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
        scale: a factor on the whole shape, above 0. It multiplies the gradient of a layer, for any window.

    Raises:
        InputError: for an unknown `area` or a shape parameter out of range.
    """

    area: Area = "free"
    scale: float = 1.0
    bounded: ClassVar[bool]
    """Whether the derivative is 0 outside |distance| <= window."""
    symmetric: ClassVar[bool] = True
    """Whether it is the same on both sides of the threshold."""
    examples: ClassVar[tuple[Mapping[str, float], ...]] = ({},)
    """Arguments of the variants that analyses compare; () leaves the shape out."""
    grid: ClassVar[tuple[Mapping[str, float], ...]] = ()
    """Likewise for detailed analyses of one network; () means `examples`."""

    def __post_init__(self) -> None:
        require_choice("area", self.area, ("free", "unit"))
        require_positive("scale", self.scale)

    def derivative(
        self, distance: Tensor, window: Tensor | float, lower_edge: bool | Tensor = True
    ) -> Tensor:
        """f(distance; window), broadcast over both.

        Args:
            distance: membrane potential minus threshold, any shape and floating dtype.
            window: half-width (the paper's β), above 0; a number or a tensor that broadcasts.
            lower_edge: whether the lower edge is inside the window of a bounded shape. Windows around
                neighbouring thresholds may touch; their common edge then belongs only to the lower one.

        Returns:
            The derivative in the dtype of `distance`.
        """
        window = torch.as_tensor(window, dtype=distance.dtype, device=distance.device)
        value = self.profile(distance * (1 / window))  # a division per window, not per distance
        if self.area == "unit":
            value = value / (self.mass * window)
        if self.scale != 1:
            value = value * self.scale
        if self.bounded:
            inside = distance.abs() <= window
            if lower_edge is not True:
                inside &= (distance > -window) | lower_edge
            value = torch.where(inside, value, value.new_zeros(()))
        return value

    def primitive(self, distance: Tensor, window: Tensor | float) -> Tensor:
        """F(distance; window), the integral of f from minus infinity: 0 far below, `integral` far above.

        Its derivative by `distance` is `derivative`, also at the edges of a bounded shape.

        Args:
            distance: as for `derivative`.
            window: likewise.

        Returns:
            The integral in the dtype of `distance`.
        """
        window = torch.as_tensor(window, dtype=distance.dtype, device=distance.device)
        if self.bounded:
            # Not torch.clamp: its gradient at the edges differs between versions of torch.
            distance = torch.where(distance > window, window, distance)
            distance = torch.where(distance < -window, -window, distance)
        value = self.cumulative(distance * (1 / window))
        value = value / self.mass if self.area == "unit" else value * window
        return value if self.scale == 1 else value * self.scale

    def integral(self, window: float) -> float:
        """The area under f: `scale` times 1, or times `mass` and the window."""
        return self.scale * (1.0 if self.area == "unit" else self.mass * window)

    @property
    @abstractmethod
    def mass(self) -> float:
        """The integral of the free-height shape at window 1 and scale 1; it is proportional to the window."""

    @abstractmethod
    def profile(self, z: Tensor) -> Tensor:
        """The free-height shape at z = distance / window; for a bounded shape only |z| <= 1 matters."""

    @abstractmethod
    def cumulative(self, z: Tensor) -> Tensor:
        """The integral of `profile` up to z: from -1 for a bounded shape, else from minus infinity."""

    def formula(self) -> Formula | None:
        """`profile` for the kernels of the `triton` backend; None if they do not support it."""
        return None


@dataclass(frozen=True)
class WindowedAffine(Surrogate):
    """f = offset + slope · z inside the window, |z| for a symmetric shape; at least 0 everywhere.

    Because f is affine, its sums over a layer follow from a few moments, for all windows at once
    (`a2sg.kernels.sums`).
    """

    bounded: ClassVar[bool] = True

    @property
    @abstractmethod
    def offset(self) -> float:
        """The value at the threshold."""

    @property
    @abstractmethod
    def slope(self) -> float:
        """The change of f from the threshold to the upper edge."""

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
        """The variable in which f is affine: |distance| or distance."""
        return distance.abs() if self.symmetric else distance

    def coefficients(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q), each with the shape of `window`: f = p + q · ordinate(distance) inside the window."""
        height = 1 / (self.mass * window) if self.area == "unit" else torch.ones_like(window)
        height = height * self.scale
        return self.offset * height, self.slope * height / window
