"""The worst loss near a minimum (Foret et al., SAM, 2021), as far as gradient ascent finds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from a2sg.errors import require_choice, require_count, require_positive
from a2sg.study.measure.filters import filter_norms
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.result import Result

Scale = Literal["absolute", "norm", "filter"]


@dataclass(frozen=True)
class Sharpness(Result):
    """How much the loss rises within a ball around the weights.

    Attributes:
        rho: radius, in the unit of `scale`.
        scale: `"absolute"`, `"norm"` or `"filter"`.
        samples: N, in the batch.
        loss: at the weights.
        worst: the highest loss found; a lower bound of the highest there is.
        increase: worst - loss, at least 0.
        ascent: rise of the loss after each step of the ascent.
        random: rise of the loss in random directions, all the way to the edge of the ball.
    """

    rho: float
    scale: str
    samples: int
    loss: float
    worst: float
    increase: float
    ascent: list[float]
    random: list[float]


def worst_case_sharpness(
    objective: Objective,
    rho: float = 0.05,
    scale: Scale = "absolute",
    steps: int = 5,
    directions: int = 5,
    seed: int = 0,
) -> Sharpness:
    """The largest L(θ + ε) - L(θ) found in a ball of radius `rho`: a lower bound of the largest there is.

    `steps` steps of normalised ascent along the surrogate gradient, each followed by a projection onto the
    ball; one step is SAM's. The loss is that of the hard-spike network, which is piecewise constant: the
    surrogate gradient is a hint where it rises, not its slope, and no maximum is certain. Random directions
    show what rises without any hint. Works with any torch module.

    Args:
        objective: see `Objective`.
        rho: the radius.
        scale: of what `rho` is a share. `"absolute"`: ‖ε‖ <= rho. `"norm"`: ‖ε‖ <= rho ‖θ‖. `"filter"`: the
            norm of ε is taken with each filter in units of its own norm, so that scaling a filter (and
            undoing it in the batch norm after it) changes nothing; biases and batch norms then stay.
        steps: of the ascent.
        directions: how many random directions of the same norm to try.
        seed: of these.

    Raises:
        InputError: for an option out of range, or a loss without a gradient.
    """
    require_positive("rho", rho)
    require_choice("scale", scale, get_args(Scale))
    require_count("steps", steps)
    require_count("directions", directions, least=0)
    with objective.ready(parameters=True):
        ball = _Ball(objective, rho, scale)
        loss, gradient = objective.value_and_gradient()
        ascent = _ascend(objective, ball, gradient, steps, loss)
        generator = torch.Generator().manual_seed(seed)
        rises = []
        for _ in range(directions):
            ball.move_to(ball.edge([_normal(p, generator) for p in objective.parameters]))
            rises.append(objective.value() - loss)
    increase = max([0.0, *ascent, *rises])
    return Sharpness(rho, scale, len(objective), loss, loss + increase, increase, ascent, rises)


class _Ball:
    """Points θ + u · η with ‖η‖ <= rho, u a unit for each weight."""

    def __init__(self, objective: Objective, rho: float, scale: Scale) -> None:
        self._parameters = objective.parameters
        self._centre = [parameter.detach().clone() for parameter in self._parameters]
        self.radius = rho
        if scale == "filter":
            self.units = [filter_norms(parameter) for parameter in self._parameters]
        else:
            unit = _norm(self._centre) if scale == "norm" else 1.0
            self.units = [parameter.new_tensor(unit) for parameter in self._centre]

    def edge(self, direction: Sequence[Tensor]) -> list[Tensor]:
        """η on the edge, in a direction given in units; 0 has none."""
        parts = [d * (u > 0) for d, u in zip(direction, self.units, strict=True)]
        return self._at_edge(parts)

    def uphill(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """η on the edge in the direction of steepest ascent."""
        return self._at_edge([g * u for g, u in zip(gradient, self.units, strict=True)])

    def inside(self, eta: Sequence[Tensor]) -> list[Tensor]:
        """The nearest η in the ball."""
        norm = _norm(eta)
        return list(eta) if norm <= self.radius else self._at_edge(eta)

    @torch.no_grad()
    def move_to(self, eta: Sequence[Tensor]) -> None:
        """Set the parameters to θ + u · η."""
        for parameter, centre, u, e in zip(self._parameters, self._centre, self.units, eta, strict=True):
            parameter.copy_(centre + u * e)

    def _at_edge(self, parts: Sequence[Tensor]) -> list[Tensor]:
        norm = _norm(parts)
        factor = self.radius / norm if norm > 0 else 0.0
        return [part * factor for part in parts]


def _ascend(
    objective: Objective, ball: _Ball, gradient: list[Tensor], steps: int, loss: float
) -> list[float]:
    """Rises of the loss along the way; ends early where there is no gradient."""
    stride = min(1.0, 2 / steps)  # one step reaches the edge, more of them can go along it
    eta = [torch.zeros_like(part) for part in gradient]
    rises: list[float] = []
    for step in range(steps):
        towards = ball.uphill(gradient)
        if _norm(towards) == 0:
            break
        eta = ball.inside([e + stride * t for e, t in zip(eta, towards, strict=True)])
        ball.move_to(eta)
        if step + 1 < steps:
            value, gradient = objective.value_and_gradient()
        else:
            value = objective.value()
        rises.append(value - loss)
    return rises


def _norm(parts: Sequence[Tensor]) -> float:
    return math.sqrt(math.fsum(part.double().square().sum().item() for part in parts))


def _normal(parameter: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(parameter.shape, generator=generator).to(parameter)
