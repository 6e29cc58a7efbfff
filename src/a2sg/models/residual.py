"""Residual blocks of spiking networks, `[T, B, C, H, W]` in and out."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from a2sg.models.layers import SpikingLayer, TdBatchNorm, threshold_of, watched
from a2sg.models.setting import Setting
from a2sg.models.synapses import before_norm


class ConvNorm(nn.Module):
    """Convolution and batch norm without a neuron: what flows on is a current.

    Args:
        synapse: the convolution.
        norm: its normalisation.
    """

    def __init__(self, synapse: nn.Conv2d, norm: TdBatchNorm) -> None:
        super().__init__()
        self.synapse = synapse
        self.norm = norm
        nn.init.kaiming_normal_(synapse.weight, nonlinearity="relu")
        if synapse.bias is not None:
            nn.init.zeros_(synapse.bias)

    def forward(self, x: Tensor) -> Tensor:
        return before_norm(
            self.synapse, x, self.norm, lambda current: self.norm(current.unflatten(0, x.shape[:2]))
        )


class Residual(nn.Module):
    """neuron(branch(x) + shortcut(x)).

    Args:
        branch: layers that learn what to add.
        shortcut: what they add to.
        neuron: takes the sum.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, neuron: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.branch(x) + self.shortcut(x))


class BasicBlock(Residual):
    """conv-BN-LIF-conv-BN, added to the shortcut, then LIF (Zheng et al., STBP-tdBN, 2021).

    The shortcut is conv1x1-BN in the first block of every stage. Branch and shortcut start scaled by
    1/√2, so that their sum is of the size of the threshold.

    Args:
        setting: neuron and normalisation.
        inputs: channels of its input.
        outputs: channels of its output.
        stride: of its first convolution.
        first: whether it is the first of its stage.
    """

    bias: ClassVar[bool] = True
    """Whether convolutions have a (redundant) bias, as in the published counts; see `before_norm`."""
    fires: ClassVar[bool] = True
    """Whether blocks take and give spikes; if not, currents."""

    def __init__(self, setting: Setting, inputs: int, outputs: int, stride: int, first: bool) -> None:
        neuron, alpha = setting.neuron(), math.sqrt(0.5)
        branch = OrderedDict[str, nn.Module](
            conv1=spiking(setting, conv(inputs, outputs, 3, stride, bias=True)),
            conv2=current(setting, conv(outputs, outputs, 3, bias=True), neuron, alpha),
        )
        shortcut: nn.Module = nn.Identity()
        if first:
            shortcut = current(setting, conv(inputs, outputs, 1, stride, bias=True), neuron, alpha)
        super().__init__(nn.Sequential(branch), shortcut, neuron)

    def forward(self, x: Tensor) -> Tensor:
        if watched(self.branch, *self.branch.children()):
            return super().forward(x)
        *first, last = self.branch.children()
        current = x
        for layer in first:
            current = layer(current)
        assert isinstance(last, ConvNorm)
        # The branch's last normalisation, the sum and the neuron in one pass.
        size = current.shape[:2]
        return before_norm(
            last.synapse,
            current,
            last.norm,
            lambda current: last.norm.fire(current, size, self.neuron, self.shortcut(x)),
        )


class SEWBlock(Residual):
    """conv-BN-LIF-conv-BN-LIF, then added to the shortcut (Fang et al., SEW-ResNet, NeurIPS 2021).

    The connect function is ADD: sums of spikes are passed on. The shortcut is conv1x1-BN-LIF where the shape
    changes. Arguments and attributes as for `BasicBlock`.
    """

    bias: ClassVar[bool] = False
    fires: ClassVar[bool] = True

    def __init__(self, setting: Setting, inputs: int, outputs: int, stride: int, first: bool) -> None:
        branch = OrderedDict[str, nn.Module](
            conv1=spiking(setting, conv(inputs, outputs, 3, stride)),
            conv2=spiking(setting, conv(outputs, outputs, 3)),
        )
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = spiking(setting, conv(inputs, outputs, 1, stride))
        super().__init__(nn.Sequential(branch), shortcut, nn.Identity())


class MSBlock(Residual):
    """LIF-conv-BN-LIF-conv-BN, then added to the shortcut (Hu et al., MS-ResNet, 2021).

    What is passed on is the sum of currents, which only the next LIF turns into spikes. The shortcut is
    conv1x1-BN where the shape changes, and reads currents. The branch starts at 0, as its authors have
    it: a block is at first its shortcut. Arguments and attributes as for `BasicBlock`.
    """

    bias: ClassVar[bool] = False
    fires: ClassVar[bool] = False

    def __init__(self, setting: Setting, inputs: int, outputs: int, stride: int, first: bool) -> None:
        neuron = setting.neuron()
        branch = OrderedDict[str, nn.Module](
            neuron=neuron,
            conv1=spiking(setting, conv(inputs, outputs, 3, stride)),
            conv2=current(setting, conv(outputs, outputs, 3), neuron, alpha=0.0),
        )
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = current(setting, conv(inputs, outputs, 1, stride), neuron)
        super().__init__(nn.Sequential(branch), shortcut, nn.Identity())


Block = type[BasicBlock] | type[SEWBlock] | type[MSBlock]


def conv(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps height and width, up to its stride."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias)


def spiking(setting: Setting, synapse: nn.Conv2d) -> SpikingLayer:
    """conv-BN-LIF with the neuron and normalisation of `setting`."""
    return SpikingLayer(synapse, setting.neuron(), norm=setting.norm)


def current(setting: Setting, synapse: nn.Conv2d, neuron: nn.Module, alpha: float = 1.0) -> ConvNorm:
    """conv-BN, its initial weights for currents of the size of `neuron`'s threshold times `alpha`."""
    norm = setting.norm(synapse.out_channels, threshold=threshold_of(neuron), alpha=alpha)
    return ConvNorm(synapse, norm)
