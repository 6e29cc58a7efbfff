"""Parts of spiking networks, all `[T, B, ...]` in and out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require
from a2sg.kernels import Norm
from a2sg.models.maps import best_format
from a2sg.neuron import SpikingNeuron


def per_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer that knows no time to every step at once: T joins the batch.

    Args:
        layer: maps `[N, ...]` to `[N, ...]`.
        x: `[T, B, ...]`.

    Returns:
        `[T, B, ...]`.
    """
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class PerStep(nn.Module):
    """A layer that knows no time, such as pooling or a dense head, over `[T, B, ...]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return per_step(self.layer, x)


def synapses(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """Weights over every step at once, convolutions in the memory format that suits them.

    Args:
        layer: the weights.
        x: `[T, B, ...]`.

    Returns:
        Their output `[T, B, ...]`.
    """
    folded = x.flatten(0, 1)
    if isinstance(layer, nn.Conv2d):
        folded = folded.contiguous(memory_format=best_format(folded, layer))
    current: Tensor = layer(folded)
    return current.unflatten(0, x.shape[:2])


class _BatchNorm(nn.BatchNorm1d):
    """Batch norm of any rank: `[N, C, ...]`."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise InputError(f"batch norm takes [N, C, ...], not shape {tuple(input.shape)}")


class TdBatchNorm(nn.Module):
    """Threshold-dependent batch normalisation (Zheng et al., STBP-tdBN, 2021).

    Statistics are taken over time, batch and space, and the weight starts at alpha · threshold, so that
    potentials are of the size of the threshold. `bn` is a plain batch norm: it folds into the weights
    before it (`torch.nn.utils.fusion`) and converts to `SyncBatchNorm`.

    Args:
        channels: C of `[T, B, C, ...]`.
        threshold: Vth of the neuron that follows.
        alpha: further scale of the initial weight.
    """

    def __init__(self, channels: int, threshold: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        self.bn = _BatchNorm(channels)
        nn.init.constant_(self.bn.weight, alpha * threshold)

    def forward(self, x: Tensor) -> Tensor:
        return per_step(self.bn, x)

    def fire(self, x: Tensor, neuron: nn.Module, shortcut: Tensor | None = None) -> Tensor:
        """`neuron(self(x) + shortcut)`, in one pass that keeps neither sum nor `self(x)` where that can be.

        Args:
            x: `[T, B, C, ...]`; if all steps are one tensor (`expand`), it is normalised once.
            neuron: takes the normalised current.
            shortcut: added to it, of the same shape; None is 0.
        """
        if not (isinstance(neuron, SpikingNeuron) and _plain(self, self.bn, neuron)):
            spikes: Tensor = neuron(self(x) if shortcut is None else self(x) + shortcut)
            return spikes
        if shortcut is None:
            return neuron.normalized(*self._once(x))
        return self._with(x, neuron, shortcut)

    def _with(self, x: Tensor, neuron: SpikingNeuron, shortcut: Tensor) -> Tensor:
        return neuron.normalized(x, _norm(self.bn, x, x[:, :, 0].numel()), shortcut)

    def _once(self, x: Tensor) -> tuple[Tensor, Norm]:
        """What the neuron is to normalise, `[1, B, C, ...]` if it is the same at every step, and how."""
        count = x[:, :, 0].numel()
        if len(x) > 1 and x.stride(0) == 0:
            x = x[:1]
        return x, _norm(self.bn, x, count)


def watched(*modules: nn.Module) -> bool:
    """Whether hooks look on as any of `modules` is called: merged into others, it would not be."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def _plain(norm: TdBatchNorm, bn: nn.Module, neuron: SpikingNeuron) -> bool:
    """Whether normalising and firing may be merged."""
    own = type(bn) is _BatchNorm and type(neuron).forward is SpikingNeuron.forward
    apart = neuron.spike is not None or watched(norm, bn, neuron) or torch.compiler.is_compiling()
    return own and not apart


def _norm(bn: nn.BatchNorm1d, x: Tensor, count: int) -> Norm:
    """The normalisation that `bn` does of `x`, and its running statistics updated.

    Args:
        bn: a batch norm.
        x: `[T, B, C, ...]`.
        count: elements of a channel.
    """
    if not bn.training and bn.running_mean is not None and bn.running_var is not None:
        return Norm(bn.weight, bn.bias, bn.running_mean, (bn.running_var + bn.eps).rsqrt(), False)
    if count == 1:
        raise InputError(
            f"batch norm in training needs more than one value per channel, not an input of shape "
            f"{tuple(x.shape)}"
        )
    with torch.no_grad():
        # Given wide places to write to, the sums are wide too; nothing is written at momentum 0.
        wide = bn.weight.new_zeros(2, x.shape[2]) if bn.weight is not None else x.new_zeros(2, x.shape[2])
        mean, variance = torch.batch_norm_update_stats(x.flatten(0, 1), wide[0], wide[1], 0.0)
        if bn.track_running_stats and bn.running_mean is not None and bn.running_var is not None:
            assert bn.num_batches_tracked is not None
            bn.num_batches_tracked += 1
            share = bn.momentum if bn.momentum is not None else 1 / bn.num_batches_tracked.item()
            bn.running_mean.lerp_(mean.to(bn.running_mean.dtype), share)
            bn.running_var.lerp_((variance * (count / (count - 1))).to(bn.running_var.dtype), share)
        return Norm(bn.weight, bn.bias, mean, (variance + bn.eps).rsqrt(), True)


class SpikingLayer(nn.Module):
    """Weights, tdBN, neuron: conv-BN-LIF or FC-BN-LIF over `[T, B, ...]`.

    Args:
        synapse: the weights; their outputs are the neuron's input current.
        neuron: a spiking neuron over `[T, B, ...]`.
        norm: makes the normalisation; one of `a2sg.models.norms.NORMS`.
    """

    def __init__(
        self,
        synapse: nn.Conv2d | nn.Linear,
        neuron: nn.Module,
        norm: Callable[..., TdBatchNorm] = TdBatchNorm,
    ) -> None:
        super().__init__()
        self.synapse = synapse
        self.norm = norm(synapse.weight.shape[0], threshold=getattr(neuron, "threshold", 1.0))
        self.neuron = neuron
        nn.init.kaiming_normal_(synapse.weight, nonlinearity="relu")
        if synapse.bias is not None:
            nn.init.zeros_(synapse.bias)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1 and x.stride(0) == 0:  # one image at all steps: one current at all steps
            current = synapses(self.synapse, x[:1]).expand(len(x), *[-1] * (x.dim() - 1))
        else:
            current = synapses(self.synapse, x)
        return self.norm.fire(current, self.neuron)


class Frames(nn.Module):
    """Images as the input of T steps: `[B, C, H, W]` is repeated T times, `[T, B, C, H, W]` stays.

    Args:
        steps: T.
        channels: C.
        size: H and W, one number or the pair; None takes any.
    """

    def __init__(self, steps: int, channels: int, size: int | tuple[int, int] | None = None) -> None:
        super().__init__()
        self.steps = steps
        self.channels = channels
        self.size = (size, size) if isinstance(size, int) else size

    def forward(self, images: Tensor) -> Tensor:
        """`[T, B, C, H, W]`.

        Raises:
            InputError: for another rank, T, channel count or size, or integers.
        """
        shape = tuple(images.shape)
        if len(shape) not in (4, 5):
            raise InputError(f"images must be [B, C, H, W] or [T, B, C, H, W], not of shape {shape}")
        require(images.is_floating_point(), f"images must be floating point, not {images.dtype}")
        channels, height, width = shape[-3:]
        require(
            channels == self.channels,
            f"this network takes in_channels={self.channels}, but the images have {channels} (shape {shape})",
        )
        require(
            self.size is None or (height, width) == self.size,
            f"this network takes image_size={self._size()}, but the images are {height}x{width} "
            f"(shape {shape})",
        )
        if len(shape) == 4:
            return images.expand(self.steps, *shape)
        require(
            shape[0] == self.steps,
            f"this network has steps={self.steps}, but the images have T={shape[0]} (shape {shape})",
        )
        return images

    def _size(self) -> str:
        return str(self.size[0] if self.size and self.size[0] == self.size[1] else self.size)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, channels={self.channels}, size={self._size()}"
