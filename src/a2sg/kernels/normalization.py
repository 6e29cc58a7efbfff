"""Batch normalisation: statistics over the ranks of a distributed run, and gradients through it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from a2sg.kernels import triton_moments
from a2sg.kernels.drive import Joined, Norm
from a2sg.kernels.fuse import FusionError
from a2sg.ranks import add_up, idles

LARGE = 2**20
"""Number of values from which Triton's kernels on a GPU are worth two launches instead of torch's one."""

log = logging.getLogger("a2sg")

_broken: list[str] = []
"""Why compiling its kernels has failed in this process."""

_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default


def batch_statistics(
    x: Tensor, running_mean: Tensor, running_var: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    """Mean and population variance of each channel of `[N, C, ...]`; moves the running ones by a share."""
    if x.is_cuda and not _broken and x.numel() >= LARGE and triton_moments.takes(x):
        try:
            return triton_moments.statistics(x, running_mean, running_var, share)
        except FusionError as error:
            _broken.append(error.reason)
            log.warning("torch computes the batch statistics: %s", *_broken)
    return torch.batch_norm_update_stats(x, running_mean, running_var, share)


def joined_statistics(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Joined]:
    """Statistics of the values of all ranks, from each rank's own; in one call.

    Args:
        mean: of this rank's values `[C]`.
        variance: their population variance `[C]`.
        count: number of values per channel; an idle rank's are not counted.

    Returns:
        Mean and population variance of all values, and their number.
    """
    own = 0 if idles() else count
    wide = mean.double()
    moments = torch.stack([torch.ones_like(wide), wide, variance.double() + wide * wide]) * own
    total, first, second = add_up(moments)
    joined = first / total
    spread = (second / total - joined * joined).clamp_min(0)
    return joined.to(mean.dtype), spread.to(variance.dtype), Joined(total[0], own > 0)


def normalize(x: Tensor, norm: Norm) -> Tensor:
    """A current `[N, C, ...]` normalised, in its dtype; for layers where a neuron cannot do it."""
    normalized: Tensor = _Normalize.apply(x, norm.weight, norm.bias, norm)
    return normalized


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, norm: Norm) -> Tensor:
        ctx.save_for_backward(x, weight, bias, norm.mean, norm.inverse)
        ctx.norm = norm[4:]
        return norm.affine().over(x.dim() - 2).apply(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        norm = Norm(weight, bias, mean, inverse, *ctx.norm)
        wants = ctx.needs_input_grad
        return *through_norm(grad, x, norm, (wants[1], wants[2])), None


def through_norm(
    grad: Tensor, current: Tensor, norm: Norm, wants: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of the norm's input, weight and bias, from that of its output.

    Args:
        grad: `[T, B, C, ...]`, or in the shape of the current.
        current: `[T·B, C, ...]`.
        norm: the normalisation.
        wants: whether weight and bias need a gradient.
    """
    wants_weight, wants_bias = wants
    if grad.dim() > current.dim():
        grad = grad.flatten(0, 1)
    if norm.joined is not None:
        return _through_joined(grad, current, norm, norm.joined, wants)
    if norm.of_batch:
        return _batch_norm_backward(
            grad, current, norm.weight, None, None, norm.mean, norm.inverse, True, 0.0, [True, *wants]
        )
    inner = current.dim() - 2
    others = [d for d in range(current.dim()) if d != 1]
    wide = norm.inverse.dtype
    scale = norm.affine().over(inner).scale
    whitened = norm._replace(weight=None, bias=None).affine().over(inner)
    return (
        grad * scale.to(grad.dtype),
        (grad * whitened.apply(current)).sum(others).to(wide) if wants_weight else None,
        grad.sum(others, dtype=wide) if wants_bias else None,
    )


def _through_joined(
    grad: Tensor, current: Tensor, norm: Norm, joined: Joined, wants: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As `through_norm`, with statistics of all ranks: one rank's gradient, corrected for the others.

    With x̂ the whitened current, a single rank has w/σ · (g - mean g - x̂ · mean g x̂). Here the means are
    over all ranks; the difference is affine in the current.
    """
    weight, mean, inverse = norm.weight, norm.mean, norm.inverse
    found, of_weight, of_bias = _batch_norm_backward(
        grad, current, weight, None, None, mean, inverse, True, 0.0, [True, True, True]
    )
    own = torch.stack([of_bias, of_weight]).double()
    every = add_up(own.clone()) / joined.total
    if joined.counts:
        count = current.numel() // current.shape[1]
        scale = inverse.double() if weight is None else weight.detach().double() * inverse
        shift, slope = (own / count - every) * scale
        slope = slope * inverse
        shape = (-1, *(1,) * (current.dim() - 2))
        found += (shift - slope * mean).to(inverse.dtype).view(shape)
        found.addcmul_(current, slope.to(inverse.dtype).view(shape))
    else:
        found.zero_()
    return found, of_weight if wants[0] else None, of_bias if wants[1] else None
