"""Slices of the loss along filter-normalised random directions (Li et al., 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_choice, require_count, require_positive
from a2sg.progress import progress
from a2sg.study.measure.directions import around, filter_norms, flat, has_filters, normal
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.result import Result

Statistics = Literal["kept", "re-estimated"]


@dataclass(frozen=True)
class Slice(Result):
    """The loss along one or two directions through the weights.

    Attributes:
        at: places along a direction, ascending, 0 (the weights) among them; 1 moves every filter by its norm.
        losses: of a line `[places]`; of a plane `[places along the first][places along the second]`. None
            where the loss is not finite.
        samples: N, in the batch.
        layer: whose weights move; None for all.
        seed: of the directions.
        statistics: what batch norms used: `"kept"` or `"re-estimated"`.
        others: whether parameters without filters moved, too.
    """

    at: list[float]
    losses: list[Any]
    samples: int
    layer: str | None
    seed: int
    statistics: str
    others: bool


def loss_slice(
    objective: Objective,
    *,
    dimensions: int = 1,
    points: int = 21,
    reach: float = 1.0,
    layer: str | None = None,
    seed: int = 0,
    statistics: Statistics = "kept",
    others: bool = False,
    show_progress: bool | None = None,
) -> Slice:
    """The loss at evenly spaced places on a line or a plane through the weights.

    Directions are Gaussian, with each filter scaled to the norm of the network's own filter. They depend only
    on the seed and on the shapes of the parameters: networks of one architecture are sliced along the same
    directions, each in its own units, and the slice of a layer is along that layer's part of them.

    The loss is that of the network with hard spikes, in evaluation mode. Parameters with fewer than two
    dimensions (biases, batch norms, trained decays) do not move, as in the paper: a random change of a batch
    norm's weight says nothing about the minimum.

    Args:
        objective: see `Objective`.
        dimensions: 1 or 2.
        points: places along each direction, an odd number, at least 3.
        reach: how far to go to either side.
        layer: whose weights move; None moves all.
        seed: of the directions.
        statistics: of batch norms: `"kept"` uses the running ones throughout, as deployment would.
            `"re-estimated"` takes those of this batch again at each place (and at the centre), which removes
            the part of the rise that comes from statistics that no longer fit; it costs a forward pass more.
        others: whether parameters without filters move, too: each as one filter.
        show_progress: None shows a bar on a terminal.

    Raises:
        InputError: for an option out of range, a layer that does not exist, or one without weights.
    """
    require(dimensions in (1, 2), f"dimensions must be 1 or 2, not {dimensions!r}")
    odd = require_count("points", points, least=3) % 2 == 1
    require(odd, f"points must be odd, so that the weights are one of them, not {points}")
    require_positive("reach", reach)
    require_choice("statistics", statistics, get_args(Statistics))
    half = points // 2
    at = [reach * step / half for step in range(-half, half + 1)]
    ways = [flat(_direction(objective, layer, seed, number, others)) for number in range(dimensions)]
    places = list(product(at, repeat=dimensions))
    losses: list[Any] = []
    with around(objective) as move:
        objective.model.eval()
        for place in progress(places, "loss landscape", len(places), show_progress):
            move(torch.stack([a * way for a, way in zip(place, ways, strict=True)]).sum(0))
            if statistics == "re-estimated":
                _re_estimate(objective)
            value = objective.value()
            losses.append(value if math.isfinite(value) else None)
    if dimensions == 2:
        losses = [losses[row * points : (row + 1) * points] for row in range(points)]
    return Slice(at, losses, len(objective), layer, seed, statistics, others)


def _direction(objective: Objective, layer: str | None, seed: int, number: int, others: bool) -> list[Tensor]:
    """The first or second direction of a seed, scaled to the network's filters."""
    moving = set(range(len(objective.parameters)) if layer is None else objective.blocks([layer])[layer])
    generator = torch.Generator().manual_seed(2 * seed + number)
    found = []
    for index, drawn in enumerate(normal(objective, generator)):
        parameter = objective.parameters[index]
        if index not in moving or not (others or has_filters(parameter)):
            found.append(torch.zeros_like(drawn))
            continue
        of_filters = partial(filter_norms, groups=objective.groups[index])
        norms = of_filters if has_filters(parameter) else torch.norm
        found.append(drawn * (norms(parameter.detach()) / norms(drawn).clamp(min=1e-12)))
    said = f"layer {layer!r} has no weights that would move" if layer else "no weights move"
    require(any(bool(part.any()) for part in found), said)
    return found


@torch.no_grad()
def _re_estimate(objective: Objective) -> None:
    """Set the running statistics of batch norms to those of the batch."""
    norms = [m for m in objective.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over chunks
        norm.train()
    for samples in objective.chunks():
        objective.output(samples)
    objective.model.eval()
