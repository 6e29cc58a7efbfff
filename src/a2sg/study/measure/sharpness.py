"""The worst loss near a minimum (Foret et al., SAM, 2021), as far as gradient ascent finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from a2sg.errors import require_choice, require_count, require_positive
from a2sg.study.measure.directions import around, filter_norms, flat, normal
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
    *,
    rho: float = 0.05,
    scale: Scale = "absolute",
    steps: int = 5,
    directions: int = 5,
    seed: int = 0,
) -> Sharpness:
    """The largest rise L(θ + ε) - L(θ) found in a ball of radius `rho`: a lower bound of the true one.

    Takes `steps` steps of normalised ascent along the surrogate gradient, each followed by a projection onto
    the ball; one step is SAM's. The loss is that of the network with hard spikes, which is piecewise
    constant: the surrogate gradient suggests where it rises but is not its slope, so no maximum is
    guaranteed. Random directions show what rises without such a hint. Works with any torch module.

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
    with around(objective) as move:
        unit, generator = _unit(objective, scale), torch.Generator().manual_seed(seed)
        loss, gradient = objective.value_and_gradient()

        def at_edge(eta: Tensor) -> Tensor:
            norm = float(eta.double().norm())
            return eta * (rho / norm if norm > 0 else 0.0)

        def uphill(gradient: Sequence[Tensor]) -> Tensor:
            return at_edge(flat(gradient) * unit)

        eta, ascent, random = torch.zeros_like(unit), list[float](), list[float]()
        stride = min(1.0, 2 / steps)  # one step reaches the edge, more of them can go along it
        while len(ascent) < steps and (towards := uphill(gradient)).any():
            eta = eta + stride * towards
            eta = at_edge(eta) if float(eta.double().norm()) > rho else eta
            move(unit * eta)
            last = len(ascent) + 1 == steps
            value, gradient = (objective.value(), gradient) if last else objective.value_and_gradient()
            ascent.append(value - loss)
        for _ in range(directions):
            move(unit * at_edge(flat(normal(objective, generator)) * (unit > 0)))
            random.append(objective.value() - loss)
    increase = max([0.0, *ascent, *random])
    return Sharpness(rho, scale, len(objective), loss, loss + increase, increase, ascent, random)


def _unit(objective: Objective, scale: Scale) -> Tensor:
    """The unit of change of each weight `[P]`: ε is η times this unit, and the ball is one of η."""
    whole = flat([parameter.detach() for parameter in objective.parameters])
    if scale == "filter":
        both = zip(objective.parameters, objective.groups, strict=True)
        return flat([filter_norms(one, groups).expand_as(one) for one, groups in both])
    return torch.full_like(whole, float(whole.double().norm()) if scale == "norm" else 1.0)
