"""Weights over all time steps, and the bias that a batch norm after them makes redundant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from a2sg.models.maps import best_format

GLOBAL_HOOKS = tuple(
    f"_global_{kind}_hooks" for kind in ("forward", "forward_pre", "backward", "backward_pre")
)


def _any_global_hook() -> bool:
    # Private to torch: without these, every layer counts as one that has hooks.
    return any(bool(getattr(torch_module, name, True)) for name in GLOBAL_HOOKS)


def synapses(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """Weights over every step at once, convolutions in the memory format that suits them.

    Args:
        layer: the weights.
        x: `[T, B, ...]`.

    Returns:
        Their output `[T·B, ...]`.
    """
    current: Tensor = layer(_folded(layer, x))
    return current


def before_norm(
    layer: nn.Conv2d | nn.Linear, x: Tensor, norm: nn.Module, then: Callable[[Tensor], Tensor]
) -> Tensor:
    """`then(synapses(layer, x))`, without the work for a bias that `norm` would subtract again.

    In training the mean of the batch contains the bias, so that normalised currents do not depend on it.
    It is not added then: its gradient is exactly 0 and the running mean, which evaluation uses, gets its
    share of it. All else is called as it is: evaluation, other layers and norms, hooks, a user's own
    `torch.compile`.

    Args:
        layer: the weights.
        x: `[T, B, ...]`.
        norm: the normalisation, such as `a2sg.models.layers.TdBatchNorm`.
        then: calls it once, with the current `[T·B, ...]`.
    """
    bias = layer.bias
    if torch.compiler.is_compiling() or bias is None or not (_known(layer) and _subtracts(norm)):
        return then(synapses(layer, x))
    folded = _folded(layer, x)
    if isinstance(layer, nn.Conv2d):
        current = layer._conv_forward(folded, layer.weight, None)
    else:
        current = F.linear(folded, layer.weight)
    output = then(_NoBias.apply(current, bias))
    bn: Any = norm.bn
    if bn.track_running_stats and bn.running_mean is not None:
        # As torch's own update, not counted as a change: a backward pass may still hold the running mean.
        bn.running_mean.data.add_(bias.detach(), alpha=bn.momentum)
    return output


def _folded(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    folded = x.flatten(0, 1)
    if isinstance(layer, nn.Conv2d):
        folded = folded.contiguous(memory_format=best_format(folded, layer))
    return folded


def _known(layer: nn.Module) -> bool:
    """Whether calling `layer` is no more than torch's convolution or product."""
    return type(layer) in (nn.Conv2d, nn.Linear) and _untouched(layer) and not _any_global_hook()


def _subtracts(norm: nn.Module) -> bool:
    """Whether nothing of `norm` but its running mean depends on a constant added to a channel.

    Its classes say so as `centres`. A subclass does not inherit that: it may do more.
    """
    if not vars(type(norm)).get("centres"):
        return False
    bn: Any = norm.bn
    batch = bn.training and bn.momentum is not None and vars(type(bn)).get("centres")
    return bool(batch and _untouched(norm) and _untouched(bn))


def _untouched(module: nn.Module) -> bool:
    """Whether a call of `module` just runs its class's `forward`: no hooks, nothing replaced."""
    own = vars(module)
    hooks = own["_forward_hooks"] or own["_forward_pre_hooks"]
    return not (hooks or own["_backward_hooks"] or own["_backward_pre_hooks"] or "forward" in own)


class _NoBias(torch.autograd.Function):
    """The current itself; the bias, which it does not depend on, gets zeros as its gradient and not None.

    Optimizers and distributed runs need a gradient of every parameter.
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, bias: Tensor) -> Tensor:
        ctx.size, ctx.dtype = bias.shape, bias.dtype
        return current

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        if not ctx.needs_input_grad[1]:
            return grad, None
        zeros = grad.new_zeros(ctx.size, dtype=ctx.dtype)
        if torch.is_grad_enabled():  # differentiated again: as every other gradient, a function of this one
            zeros = zeros + 0 * grad.sum()
        return grad, zeros
