"""Parts of spiking networks, all `[T, B, ...]` in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require
from a2sg.kernels import Norm
from a2sg.kernels.drive import Joined
from a2sg.kernels.normalization import batch_statistics, joined_statistics, normalize
from a2sg.models.synapses import before_norm
from a2sg.neuron import SpikingNeuron
from a2sg.ranks import distributed


def per_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer without a time dimension to all steps at once: T joins the batch.

    Args:
        layer: maps `[N, ...]` to `[N, ...]`.
        x: `[T, B, ...]`.

    Returns:
        `[T, B, ...]`.
    """
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class PerStep(nn.Module):
    """A layer without a time dimension, such as pooling or a dense head, over `[T, B, ...]`."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return per_step(self.layer, x)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of any rank: `[N, C, ...]`."""

    centres: ClassVar[bool] = True

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise InputError(f"batch norm takes [N, C, ...], not shape {tuple(input.shape)}")

    def statistics(
        self, x: Tensor, running_mean: Tensor, running_var: Tensor, share: float
    ) -> tuple[Tensor, Tensor, Joined | None]:
        """Mean and population variance of each channel; the running ones are moved by a share."""
        mean, variance = batch_statistics(x, running_mean, running_var, share)
        return mean, variance, None


class RankBatchNorm(BatchNorm):
    """Batch norm with the statistics of all ranks of a distributed run; alone it is plain batch norm.

    `torch.nn.SyncBatchNorm` for CPUs too, and such that a neuron normalises and fires in one pass.
    """

    centres: ClassVar[bool] = True

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and distributed()):
            return super().forward(input)
        if torch.compiler.is_compiling():
            from a2sg.adopt.untraced import untraced

            return untraced(self._over_ranks, input)
        return self._over_ranks(input)

    def _over_ranks(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return normalize(input, norm_of(self, input, (1, len(input))))

    def statistics(
        self, x: Tensor, running_mean: Tensor, running_var: Tensor, share: float
    ) -> tuple[Tensor, Tensor, Joined | None]:
        if not distributed():
            return super().statistics(x, running_mean, running_var, share)
        own = batch_statistics(x, running_mean.clone(), running_var.clone(), 0.0)
        mean, variance, joined = joined_statistics(*own, x.numel() // x.shape[1])
        running_mean.lerp_(mean.to(running_mean.dtype), share)
        unbiased = variance * (joined.total / (joined.total - 1)).to(variance.dtype)
        running_var.lerp_(unbiased.to(running_var.dtype), share)
        return mean, variance, joined


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

    centres: ClassVar[bool] = True
    kind: ClassVar[type[BatchNorm]] = BatchNorm

    def __init__(self, channels: int, threshold: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        self.bn = self.kind(channels)
        nn.init.constant_(self.bn.weight, alpha * threshold)

    def forward(self, x: Tensor) -> Tensor:
        return per_step(self.bn, x)

    def fire(
        self, current: Tensor, size: Sequence[int], neuron: nn.Module, shortcut: Tensor | None = None
    ) -> Tensor:
        """`neuron(self(current) + shortcut)`, if possible in one pass that stores neither sum.

        Args:
            current: `[T·B, C, ...]`, as weights give it; or `[B, C, ...]` for every step.
            size: T and B.
            neuron: takes the normalised current `[T, B, C, ...]`.
            shortcut: added to it `[T, B, C, ...]`; None is 0.
        """
        steps, batch = size
        held = (steps if current.shape[0] == steps * batch else 1, batch)
        if isinstance(neuron, SpikingNeuron) and _plain(self, self.bn, neuron):
            found = self._merged(current, held, steps, shortcut is not None)
            if found is not None:
                return neuron.normalized(*found, shortcut, steps)
        x = current.unflatten(0, held).expand(steps, *[-1] * current.dim())
        spikes: Tensor = neuron(self(x) if shortcut is None else self(x) + shortcut)
        return spikes

    def _merged(
        self, current: Tensor, held: tuple[int, int], steps: int, added: bool
    ) -> tuple[Tensor, Norm] | None:
        """The normalisation that the neuron does itself; None if it must be done before.

        Args:
            current: `[T·B, C, ...]`.
            held: its T and B.
            steps: T of the neuron's input.
            added: whether there is a shortcut.
        """
        return current, norm_of(self.bn, current, held, steps // held[0])


def threshold_of(neuron: nn.Module) -> float:
    """Vth of a neuron, as the mean over channels; 1 if it has none."""
    threshold = getattr(neuron, "threshold", 1.0)
    return float(threshold.detach().mean() if isinstance(threshold, Tensor) else threshold)


def watched(*modules: nn.Module) -> bool:
    """Whether any of `modules` has hooks, which would not run if it were merged into others."""
    for module in modules:  # noqa: SIM110  (any() of a generator takes twice as long)
        if module._forward_hooks or module._forward_pre_hooks:
            return True
    return False


def _plain(norm: TdBatchNorm, bn: nn.Module, neuron: SpikingNeuron) -> bool:
    """Whether normalising and firing may be merged."""
    own = type(bn) in (BatchNorm, RankBatchNorm) and type(neuron).forward is SpikingNeuron.forward
    apart = neuron.spike is not None or watched(norm, bn, neuron) or torch.compiler.is_compiling()
    return own and not apart


def norm_of(bn: BatchNorm, current: Tensor, size: tuple[int, int], repeats: int = 1) -> Norm:
    """The normalisation of a current by `bn`, whose running statistics are updated.

    Args:
        bn: a batch norm.
        current: `[T·B, C, ...]`.
        size: its T and B.
        repeats: how often it counts in the running statistics: T, if it is one step's and every step's.
    """
    # What `bn.weight` looks for in three places.
    weight, bias = bn._parameters["weight"], bn._parameters["bias"]
    running_mean, running_var = bn._buffers["running_mean"], bn._buffers["running_var"]
    if not bn.training and running_mean is not None and running_var is not None:
        return Norm(weight, bias, running_mean, (running_var + bn.eps).rsqrt(), False, size)
    x, channels = current.detach(), current.shape[1]
    count = x.numel() // channels
    if count * repeats == 1 and not (distributed() and isinstance(bn, RankBatchNorm)):
        raise InputError(
            f"batch norm in training needs more than one value per channel, not an input of shape "
            f"{tuple(x.shape)}: if the last batch of an epoch has one sample, choose another batch size"
        )
    share = 0.0
    if bn.track_running_stats and running_mean is not None and running_var is not None:
        seen = bn._buffers["num_batches_tracked"]
        assert seen is not None
        seen.add_(1)
        share = bn.momentum if bn.momentum is not None else 1 / seen.item()
    if running_mean is None or running_var is None:
        # With outputs of a wide type, the sums are wide too.
        wide = x.new_zeros if weight is None else weight.detach().new_zeros
        running_mean, running_var = wide(channels), wide(channels)
        share = 0.0
    if repeats > 1:
        was = running_var.clone()
    mean, variance, joined = bn.statistics(x, running_mean, running_var, share)
    if repeats > 1:  # the variance of all values is that of one step's with another count
        every = repeats * (count if joined is None else joined.total.to(variance.dtype))
        running_var.copy_(was.lerp_((variance * (every / (every - 1))).to(was.dtype), share))
    return Norm(weight, bias, mean, variance.add_(bn.eps).rsqrt_(), True, size, joined)


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
        self.norm = norm(synapse.weight.shape[0], threshold=threshold_of(neuron))
        self.neuron = neuron
        nn.init.kaiming_normal_(synapse.weight, nonlinearity="relu")
        if synapse.bias is not None:
            nn.init.zeros_(synapse.bias)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[:2]
        if size[0] > 1 and x.stride(0) == 0:  # one image at all steps: one current at all steps
            x = x[:1]
        return before_norm(
            self.synapse, x, self.norm, lambda current: self.norm.fire(current, size, self.neuron)
        )


class Frames(nn.Module):
    """Images as the input of T steps: `[B, C, H, W]` is repeated T times, `[T, B, C, H, W]` stays.

    Args:
        steps: T of images that are repeated; recordings may have another.
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
            InputError: for another rank, channel count or size, or integers.
        """
        shape = tuple(images.shape)
        if len(shape) not in (4, 5):
            raise InputError(f"images must be [B, C, H, W] or [T, B, C, H, W], not of shape {shape}")
        require(
            images.is_floating_point(),
            f"images must be floating point, not {images.dtype}: scale pixels with .float() / 255",
        )
        # Messages are built only where they are needed: Dynamo cannot format symbolic sizes.
        if shape[-3] != self.channels:
            last = ": they come last, so permute to [..., C, H, W]" if shape[-1] == self.channels else ""
            raise InputError(
                f"this network takes in_channels={self.channels}, but the images have {shape[-3]} "
                f"(shape {shape}){last}"
            )
        if self.size is not None and shape[-2:] != self.size:
            raise InputError(
                f"this network takes image_size={self._size()}, but the images are {shape[-2]}x{shape[-1]} "
                f"(shape {shape})"
            )
        if len(shape) == 4:
            return images.expand(self.steps, *shape)
        return images

    def _size(self) -> str:
        return str(self.size[0] if self.size and self.size[0] == self.size[1] else self.size)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, channels={self.channels}, size={self._size()}"
