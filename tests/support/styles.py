"""The ways of published repositories to write a spiking network, as cases of one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from published import (
    BATCH,
    CLASSES,
    HALVES,
    WIDE,
    ByClass,
    Detached,
    FiresTwice,
    MadeInForward,
    MemUpdate,
    MultiSpike,
    NormsByStep,
    OneStep,
    Residual,
    SharedNeuron,
    SharedOverTime,
    T,
    TimeOutside,
)


def layer_by_layer(count: int) -> list[tuple[int, int]]:
    """All steps of a layer, then those of the next."""
    return [(layer, t) for layer in range(count) for t in range(T)]


def step_by_step(count: int) -> list[tuple[int, int]]:
    """All layers of a step, then those of the next."""
    return [(layer, t) for t in range(T) for layer in range(count)]


@dataclass(frozen=True)
class Style:
    """A way to write a spiking network.

    Attributes:
        name: as tests are called.
        make: the network.
        layers: the names under which `adapt` finds its layers.
        order: layer and step of the calls with a gradient, in their order.
        thresholds: where a spike function fires.
        steps: T.
        online: whether a training loop makes one step of a forward, and a backward pass after each.
    """

    name: str
    make: Callable[[], nn.Module]
    layers: list[str]
    order: list[tuple[int, int]]
    thresholds: Sequence[float]
    steps: int = T
    online: bool = False

    def __str__(self) -> str:
        return self.name

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        net = self.make().double()
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, nn.Linear):
                    module.weight.mul_(2.5)
                    if module.bias is not None:
                        module.bias.add_(0.3)
        return net

    def draw(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(T, BATCH, WIDE, dtype=torch.float64, generator=generator)
        return 0.3 + 1.5 * x, torch.randint(CLASSES, (BATCH,), generator=generator)

    def example(self, seed: int = 9) -> Tensor:
        x, _ = self.draw(seed)
        return x[0] if self.online or self.steps == 1 else x

    def train(self, net: nn.Module, seed: int = 0) -> Tensor:
        """The backward passes of one iteration; what the network said."""
        x, labels = self.draw(seed)
        net.zero_grad()
        if not self.online:
            out = net(x[0] if self.steps == 1 else x)
            nn.functional.cross_entropy(out, labels).backward()
            return out.detach()
        assert isinstance(net, OneStep)
        net.rest()
        outs = []
        for frame in x:
            outs.append(net(frame))
            nn.functional.cross_entropy(outs[-1], labels).backward()
        return torch.stack(outs).detach()


FIRES = [f"fires.{layer}" for layer in range(3)]
STYLES = [
    Style("MS-ResNet", lambda: Residual(MemUpdate), FIRES, layer_by_layer(3), (0.5,)),
    Style("NDA", lambda: Residual(MadeInForward), FIRES, layer_by_layer(3), (0.0,)),
    Style("TET", lambda: Residual(ByClass), FIRES, layer_by_layer(3), (0.0,)),
    Style("STBP", TimeOutside, ["ActFun.1", "ActFun.2"], step_by_step(2), (0.5,)),
    Style("BNTT", NormsByStep, ["Above.1", "Above.2", "Above.3"], step_by_step(3), (0.0,)),
    Style("shared-neuron", SharedNeuron, ["fire.ActFun.1", "fire.ActFun.2"], step_by_step(2), (0.5,)),
    Style("shared-over-time", SharedOverTime, ["fire.ActFun.1", "fire.ActFun.2"], layer_by_layer(2), (0.5,)),
    Style("fires-twice", lambda: Residual(FiresTwice), FIRES, layer_by_layer(3), (0.0,)),
    Style("SDT-v3", lambda: OneStep(MultiSpike), FIRES[:2], [(0, 0), (1, 0)], HALVES, steps=1),
    Style("OTTT", lambda: OneStep(Detached), FIRES[:2], step_by_step(2), (0.0,), online=True),
]
