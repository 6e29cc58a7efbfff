"""Parts of spiking networks, all `[T, B, ...]` in and out."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from a2sg.errors import InputError, require


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
        self.bn = nn.BatchNorm1d(channels)
        nn.init.constant_(self.bn.weight, alpha * threshold)

    def forward(self, x: Tensor) -> Tensor:
        # A 1-d batch norm takes [N, C] and [N, C, L]: with space as L it serves every rank.
        folded = x.flatten(0, 1)
        return self.bn(folded.flatten(2) if folded.dim() > 3 else folded).view_as(x)


class SpikingLayer(nn.Module):
    """Weights, tdBN, neuron: conv-BN-LIF or FC-BN-LIF over `[T, B, ...]`.

    Args:
        synapse: the weights; their outputs are the neuron's input current.
        neuron: a spiking neuron over `[T, B, ...]`.
    """

    def __init__(self, synapse: nn.Conv2d | nn.Linear, neuron: nn.Module) -> None:
        super().__init__()
        self.synapse = synapse
        self.norm = TdBatchNorm(synapse.weight.shape[0], threshold=getattr(neuron, "threshold", 1.0))
        self.neuron = neuron
        nn.init.kaiming_normal_(synapse.weight, nonlinearity="relu")
        if synapse.bias is not None:
            nn.init.zeros_(synapse.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.norm(per_step(self.synapse, x)))


class Frames(nn.Module):
    """Images as the input of T steps: `[B, C, H, W]` is repeated T times, `[T, B, C, H, W]` stays.

    Args:
        steps: T.
        channels: C.
        size: H and W; None takes any.
    """

    def __init__(self, steps: int, channels: int, size: int | None = None) -> None:
        super().__init__()
        self.steps = steps
        self.channels = channels
        self.size = size

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
            self.size is None or (height, width) == (self.size, self.size),
            f"this network takes image_size={self.size}, but the images are {height}x{width} (shape {shape})",
        )
        if len(shape) == 4:
            return images.expand(self.steps, *shape)
        require(
            shape[0] == self.steps,
            f"this network has steps={self.steps}, but the images have T={shape[0]} (shape {shape})",
        )
        return images

    def extra_repr(self) -> str:
        return f"steps={self.steps}, channels={self.channels}, size={self.size}"
