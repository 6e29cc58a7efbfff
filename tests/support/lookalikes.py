"""Small networks written the ways that published code writes them, around neurons of any make.

A neuron is made by `neuron(threshold=1.0)` and run by `run(neuron, current [T, B, ...])`, so that the same
network can be built of this package's neurons, of plain modules, and of other libraries' neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import a2sg

Make = Callable[..., nn.Module]
"""A neuron, by its threshold."""
Runner = Callable[[nn.Module, Tensor], Tensor]
"""All steps `[T, B, ...]` through a neuron."""


class Step(torch.autograd.Function):
    """A plain spike function: 1 where u has reached a threshold; backward a triangle of area 1."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, width: float, threshold: float = 0.0) -> Tensor:
        ctx.save_for_backward(u)
        ctx.width, ctx.threshold = width, threshold
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        x = (u - ctx.threshold).abs()
        return grad * torch.clamp(ctx.width - x, min=0) / ctx.width**2, None, None


def step(u: Tensor, width: float = 1.0, threshold: float = 0.0) -> Tensor:
    return Step.apply(u, width, threshold)


class Equations(nn.Module):
    """u = decay v + I, a spike, and a reset: what the plain neurons below share."""

    def __init__(
        self, decay: float = 0.9, threshold: float = 1.0, reset: str = "soft", detach: bool = False
    ) -> None:
        super().__init__()
        self.decay, self.threshold, self.reset_way, self.detach = decay, threshold, reset, detach

    def after(self, u: Tensor, spike: Tensor) -> Tensor:
        felt = spike.detach() if self.detach else spike
        return u - self.threshold * felt if self.reset_way == "soft" else u * (1 - felt)


class Looped(Equations):
    """A neuron over `[T, B, ...]` with a loop of its own, and an attribute that makes the spikes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.act: Callable[[Tensor], Tensor] = step

    def forward(self, current: Tensor) -> Tensor:
        v: Tensor | float = 0.0
        spikes: list[Tensor] = []
        for x in current:
            u = self.decay * v + x
            spikes.append(self.act(u - self.threshold))
            v = self.after(u, spikes[-1])
        return torch.stack(spikes)


class Within(Looped):
    """The same, with the threshold in the spike function."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        threshold = self.threshold
        self.act = Bound(threshold)

    def forward(self, current: Tensor) -> Tensor:
        v: Tensor | float = 0.0
        spikes: list[Tensor] = []
        for x in current:
            u = self.decay * v + x
            spikes.append(self.act(u))
            v = self.after(u, spikes[-1])
        return torch.stack(spikes)


class Bound(nn.Module):
    """A spike function as a module, called with the potential."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, u: Tensor) -> Tensor:
        return step(u, 1.0, self.threshold)


class Sited(Equations):
    """A neuron over `[T, B, ...]` whose loop calls `a2sg.spike`."""

    def __init__(self, steps: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.site = a2sg.SpikeSite(steps)

    def forward(self, current: Tensor) -> Tensor:
        v: Tensor | float = 0.0
        spikes: list[Tensor] = []
        for x in current:
            u = self.decay * v + x
            spikes.append(a2sg.spike(u - self.threshold, self.site))
            v = self.after(u, spikes[-1])
        return torch.stack(spikes)


class Stepped(Equations):
    """A neuron called once a step, which keeps its potential until it is reset."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.act = step
        self.v: Tensor | float = 0.0

    def rest(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        u = self.decay * self.v + x
        spike = self.act(u - self.threshold)
        self.v = self.after(u, spike)
        return spike


def whole(neuron: nn.Module, current: Tensor) -> Tensor:
    """Run a neuron that takes all steps in one call."""
    spikes: Tensor = neuron(current)
    return spikes


def by_step(neuron: nn.Module, current: Tensor) -> Tensor:
    """Run a neuron that is called once a step."""
    return torch.stack([neuron(x) for x in current])


class Residual(nn.Module):
    """Spikes of a branch are added to those that came in (as SEW-ResNet does)."""

    def __init__(self, neuron: Make, run: Runner = whole, channels: int = 6) -> None:
        super().__init__()
        self.run = run
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
            for _ in range(2)
        )
        self.neurons = nn.ModuleList(neuron() for _ in range(3))
        self.head = nn.Linear(channels, 4)
        enliven(self)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, 1, H, W]
        x = self.run(self.neurons[0], self.stem(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        for conv, neuron in zip(self.convs, self.neurons[1:], strict=True):
            x = x + self.run(neuron, conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.head(x.mean((-1, -2))).mean(0)


class Attention(nn.Module):
    """Attention of spikes without a softmax, made spikes again at a threshold of 0.5 (as Spikformer does)."""

    def __init__(self, neuron: Make, run: Runner = whole, size: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.run, self.heads = run, heads
        self.embed = nn.Linear(9, size)
        self.qkv = nn.ModuleList(nn.Linear(size, size) for _ in range(3))
        self.fires = nn.ModuleList(neuron() for _ in range(4))
        self.attend = neuron(threshold=0.5)
        self.head = nn.Linear(size, 4)
        enliven(self)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, N, 9]
        x = self.run(self.fires[0], self.embed(x))
        q, k, v = (
            self.run(fire, linear(x)).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for fire, linear in zip(self.fires[1:], self.qkv, strict=True)
        )
        mixed = (q @ k.transpose(-1, -2)) @ v * 0.37
        x = x + self.run(self.attend, mixed.transpose(-2, -3).flatten(-2))
        return self.head(x.mean((0, 2)))


class Masking(nn.Module):
    """Keys pass where the queries' sum fires, at a threshold of 0.5 (as QKFormer does)."""

    def __init__(self, neuron: Make, run: Runner = whole, size: int = 8) -> None:
        super().__init__()
        self.run = run
        self.linears = nn.ModuleList(nn.Linear(9, size) for _ in range(2))
        self.fires = nn.ModuleList(neuron() for _ in range(2))
        self.mask = neuron(threshold=0.5)
        self.out, self.last = nn.Linear(size, size), neuron()
        self.head = nn.Linear(size, 4)
        enliven(self)

    def forward(self, x: Tensor) -> Tensor:  # [T, B, N, 9]
        q, k = (self.run(fire, linear(x)) for fire, linear in zip(self.fires, self.linears, strict=True))
        kept = self.run(self.mask, q.sum(-1, keepdim=True) * 0.27) * k
        return self.head(self.run(self.last, self.out(kept)).mean((0, 2)))


class Stepwise(nn.Module):
    """One step of a whole network, called T times by the caller (as temporal efficient training does)."""

    def __init__(self, neuron: Make) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(9, 11), nn.Linear(11, 7), nn.Linear(7, 4)
        self.neurons = nn.ModuleList([neuron(), neuron()])
        enliven(self)

    def forward(self, x: Tensor) -> Tensor:  # [B, 9]
        return self.head(self.neurons[1](self.second(self.neurons[0](self.first(x)))))


def enliven(net: nn.Module) -> None:
    """Larger weights, so that most neurons fire now and then."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(2.5)
                module.bias.add_(0.3)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(2.0)


INPUTS: dict[type[nn.Module], tuple[int, ...]] = {Residual: (1, 5, 5), Attention: (5, 9), Masking: (5, 9)}
"""The shape of a sample of each network at one step."""


def draw(network: type[nn.Module], steps: int = 4, size: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Input `[T, B, ...]` in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, size, *INPUTS.get(network, (9,)), dtype=torch.float64, generator=generator)
    return 0.3 + 1.5 * x, torch.randint(4, (size,), generator=generator)


def gradients(net: nn.Module, loss: Tensor) -> list[Tensor]:
    net.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
