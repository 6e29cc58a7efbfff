"""SGV, TGC and gain: how good a window is, from sums of the local gradient δ (method, sections 4, 13).

The sums of a set of gradients are one row of six numbers (`Sums`). They add up over blocks of data,
micro-batches and ranks, and all objectives follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from a2sg.errors import require, require_positive
from a2sg.kernels.sums import Sums, sums_of
from a2sg.registry import Registry, require_known

BEHIND = len(Sums)
"""A column after those of `Sums`: Σδ² of the layer behind at the same step, under its window in use."""

ROUNDING = 1e-14
"""Share of the mean square below which a variance in float64 is only rounding: the gradients are equal."""


def sgv_from_sums(sums: Tensor) -> Tensor:
    """Var(δ) / mean|δ| over rows `[..., 6]`; 0 where every gradient is 0."""
    return _ratio(_variance(sums), _mean_size(sums))


def std_from_sums(sums: Tensor) -> Tensor:
    """Std(δ) / mean|δ| over rows `[..., 6]`; 0 where every gradient is 0.

    Independent of the gradient's scale. With a share ρ of the elements inside the window it grows by about
    1/√ρ; SGV hardly depends on ρ.
    """
    return _ratio(_variance(sums).sqrt(), _mean_size(sums))


def cv_from_sums(sums: Tensor) -> Tensor:
    """Standard deviation over |mean|, of rows `[..., 6]`; infinite if values cancel, NaN if all are 0."""
    return _variance(sums).sqrt() / (sums[..., Sums.DELTA] / sums[..., Sums.COUNT].clamp_min(1)).abs()


def tgc_from_sums(sums: Tensor) -> Tensor:
    """cos(δ, r) over rows `[..., 6]`; 0 where either is all zero."""
    norms = sums[..., Sums.SQUARE].sqrt() * sums[..., Sums.LATER].sqrt()
    return _ratio(sums[..., Sums.CROSS], norms)


def gain_from_sums(sums: Tensor) -> Tensor:
    """‖δ‖ over that of the layer behind, over rows `[..., 7]`; infinite or NaN where that is all zero."""
    return (sums[..., Sums.SQUARE] / sums[..., BEHIND]).sqrt()


@dataclass(frozen=True)
class Objective:
    """Says how good a window is: a score of the sums of δ, higher is better.

    Args:
        name: its name in `AdaptiveWindows`, recipes and arms.
        score: from sums `[..., 7]`, float64, with the columns of `a2sg.window.Sums` followed by `BEHIND`, to
            scores `[...]`: for every layer, step and window at once. The sums are on the model's device.
        pairs: whether it compares δ with the gradient of the next step; the last step has none.
        behind: whether it compares δ with that of the layer behind; the last layer has none.
    """

    name: str
    score: Callable[[Tensor], Tensor]
    pairs: bool = field(default=False, kw_only=True)
    behind: bool = field(default=False, kw_only=True)


Score = TypeVar("Score", bound=Callable[[Tensor], Tensor])

OBJECTIVES: Registry[Objective] = Registry("objective")
"""Objectives by name. Earlier steps can use any of them, the last step only one that does not pair steps."""


def register_objective(name: str, *, pairs: bool = False, behind: bool = False) -> Callable[[Score], Score]:
    """A decorator: `a2sg.AdaptiveWindows`, recipes and arms then know an objective by `name`.

    Put it on the objective's score, a function as in `Objective`. `a2sg list objectives` shows the first line
    of its docstring.

    Args:
        name: of the objective.
        pairs: see `Objective`.
        behind: see `Objective`.

    Raises:
        InputError: if another objective has that name.
    """

    def add(score: Score) -> Score:
        OBJECTIVES.register(name)(Objective(name, score, pairs=pairs, behind=behind))
        return score

    return add


@register_objective("sgv")
def _least_sgv(sums: Tensor) -> Tensor:
    """The least Var(δ)/mean|δ| (S-ASG, the paper)."""
    return -sgv_from_sums(sums)


@register_objective("std")
def _least_std(sums: Tensor) -> Tensor:
    """The least Std(δ)/mean|δ|, which does not depend on scale."""
    return -std_from_sums(sums)


@register_objective("tgc", pairs=True)
def _largest_tgc(sums: Tensor) -> Tensor:
    """The largest cosine with the gradient of the next step (T-ASG, the paper)."""
    return tgc_from_sums(sums)


def gain(target: float = 1.0) -> Objective:
    """The objective of an even gradient: the window for which ‖δ‖ is `target` times that of the layer behind.

    If every layer reaches a target of 1, the gradient's norm is the same at all depths. One search nearly
    achieves that for a whole chain of layers: a new window for the layer behind changes its own norm and the
    norm that arrives here by nearly the same factor, which cancels. The layer behind is the next spiking
    layer in the order of the model's modules; the last one keeps its windows.

    Args:
        target: the gain per layer, above 0.

    Returns:
        An objective for `AdaptiveWindows(spatial=..., temporal=...)`; with target 1 its name is `"gain"`.
    """
    level = 2 * math.log(require_positive("target", target))

    def score(sums: Tensor) -> Tensor:
        return -(sums[..., Sums.SQUARE].log() - sums[..., BEHIND].log() - level).abs()

    return Objective("gain" if target == 1 else f"gain {target:g}", score, behind=True)


@register_objective("gain", behind=True)
def _even_gain(sums: Tensor) -> Tensor:
    """The norm of δ nearest to that of the layer behind: gradients neither explode nor starve with depth."""
    return gain().score(sums)


SGV, TGC = OBJECTIVES["sgv"], OBJECTIVES["tgc"]


def find_objective(part: str, given: bool | str | Objective, usual: Objective) -> Objective | None:
    """The objective of a part of the search; None if that part is off.

    Args:
        part: `"spatial"` or `"temporal"`, for errors.
        given: whether the part is on, an objective, or the name of one.
        usual: the paper's objective.

    Raises:
        InputError: for an unknown name, or any other value.
    """
    if isinstance(given, Objective):
        return given
    if isinstance(given, str):
        return OBJECTIVES[require_known(part, given, OBJECTIVES)]
    require(
        isinstance(given, bool), f"{part} must be True, False, an Objective or the name of one, not {given!r}"
    )
    return usual if given else None


def sgv(delta: Tensor) -> Tensor:
    """Spatial gradient variation: population variance of δ over its mean absolute value (A2SG, SGV).

    Args:
        delta: local gradients of one layer at one step, any shape, at least one element.

    Returns:
        A 0-d tensor, float64 for float64 input and else float32; 0 for an all-zero gradient, NaN or
        infinity only if `delta` holds them. It grows with the scale of the gradient, so compare only where
        it is least, not its values.
    """
    require(delta.numel() > 0, "sgv needs at least one gradient, but the tensor is empty")
    return sgv_from_sums(sums_of(delta)).to(_score_dtype(delta))


def tgc(delta: Tensor, later: Tensor) -> Tensor:
    """Temporal gradient consistency: the cosine between the gradients of a step and the next (A2SG, TGC).

    Independent of scale: the research code adds 1e-8 to the denominator, which dominates once gradients are
    that small. Here only 0/0 is set to 0.

    Args:
        delta: local gradients of one layer at step t.
        later: the same at step t + 1, of the same shape.

    Returns:
        A 0-d tensor in -1 .. 1, float64 for float64 input and else float32.

    Raises:
        InputError: if the shapes differ.
    """
    require(
        delta.shape == later.shape,
        f"tgc needs two gradients of one shape, not {tuple(delta.shape)} and {tuple(later.shape)}",
    )
    return tgc_from_sums(sums_of(delta, later)).to(_score_dtype(delta))


def _variance(sums: Tensor) -> Tensor:
    count = sums[..., Sums.COUNT].clamp_min(1)
    mean, square = sums[..., Sums.DELTA] / count, sums[..., Sums.SQUARE] / count
    variance = square - mean * mean
    return variance.masked_fill(variance <= ROUNDING * square, 0)


def _mean_size(sums: Tensor) -> Tensor:
    return sums[..., Sums.ABS] / sums[..., Sums.COUNT].clamp_min(1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    empty = denominator == 0
    return torch.where(empty, torch.zeros_like(numerator), numerator / denominator.masked_fill(empty, 1))


def _score_dtype(delta: Tensor) -> torch.dtype:
    return torch.float64 if delta.dtype == torch.float64 else torch.float32
