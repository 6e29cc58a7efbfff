"""Small networks with spike functions of their own, each called in a way of published repositories.

All functions have one backward pass, `through`, so that a test can look on and compute windows by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

T, BATCH, WIDE, CLASSES = 4, 6, 9, 4
HALVES = (0.5, 1.5, 2.5, 3.5)
"""Where rounding goes up."""


def through(u: Tensor, thresholds: Sequence[float], grad: Tensor) -> Tensor:
    """The hosts' surrogate: a box of half-width 1/2 around every threshold."""
    boxes = [(u - threshold).abs() <= 0.5 for threshold in thresholds]
    return grad * torch.stack(boxes).sum(0)


class ActFun(Function):
    """Fires above 1/2, by itself."""

    @staticmethod
    def forward(ctx: Any, mem: Tensor) -> Tensor:
        ctx.save_for_backward(mem)
        return mem.gt(0.5).to(mem.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return through(u, (0.5,), grad)


act_fun = ActFun.apply


class Above(Function):
    """Fires above 0; takes a width that only the backward pass may use."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, width: float = 1.0) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return through(u, (0.0,), grad), None


class Quant(Function):
    """Rounds between two bounds: several spikes in one."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(u)
        return torch.round(torch.clamp(u, low, high))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return through(u, HALVES, grad), None, None


def function(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function with this forward pass, through whose backward pass every gradient goes."""

    class Fire(Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor, *others: Any) -> Tensor:
            ctx.others = len(others)
            return forward(u, *others)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
            return grad, *[grad.sum()] * ctx.others

    fire: Callable[..., Tensor] = Fire.apply
    return fire


def decayed(mem: Tensor | float, spike: Tensor | float, x: Tensor) -> Tensor:
    return mem * 0.5 * (1 - spike) + x


class MemUpdate(nn.Module):
    """A module whose loop calls a global alias (as MS-ResNet's)."""

    def forward(self, x: Tensor) -> Tensor:
        mem: Tensor | float = 0.0
        spike: Tensor | float = 0.0
        output = torch.zeros_like(x)
        for t in range(len(x)):
            mem = decayed(mem, spike.detach() if isinstance(spike, Tensor) else spike, x[t])
            spike = act_fun(mem)
            output[t] = spike
        return output


class MadeInForward(nn.Module):
    """A module that makes its spike function again in every forward (as NDA's)."""

    def forward(self, x: Tensor) -> Tensor:
        class Fire(Function):
            @staticmethod
            def forward(ctx: Any, distance: Tensor) -> Tensor:
                ctx.save_for_backward(distance)
                return (distance >= 0).to(distance.dtype)

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                (u,) = ctx.saved_tensors
                return through(u, (0.0,), grad)

        mem: Tensor | float = 0.0
        spikes: list[Tensor] = []
        for current in x:
            mem = 0.5 * mem + current
            spikes.append(Fire.apply(mem - 1.0))
            mem = mem * (1 - spikes[-1])
        return torch.stack(spikes)


class ByClass(nn.Module):
    """A module that calls a class with a width that training anneals (as TET's)."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.width = Above.apply, 1.0

    def forward(self, x: Tensor) -> Tensor:
        mem: Tensor | float = 0.0
        spikes: list[Tensor] = []
        for current in x:
            mem = 0.25 * mem + current
            spikes.append(self.act(mem - 1.0, self.width))
            mem = (1 - spikes[-1]) * mem
        return torch.stack(spikes)


class MultiSpike(nn.Module):
    """Integer spikes, passed on as shares (as Spike-Driven Transformer v3's)."""

    def forward(self, x: Tensor) -> Tensor:
        return Quant.apply(x, 0, 4) / 4


class Detached(nn.Module):
    """One step a call, with a state that carries no graph (as OTTT's)."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        carried = self.v.detach() if isinstance(self.v, Tensor) else self.v
        u = 0.5 * carried + x
        spike = Above.apply(u - 1.0)
        self.v = u - spike
        return spike


class Residual(nn.Module):
    """Spiking modules over `[T, B, ...]`, with a shortcut for potentials around two of them (MS-ResNet's)."""

    def __init__(self, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDE, WIDE)
        self.fires = nn.ModuleList(neuron() for _ in range(3))
        self.linears = nn.ModuleList(nn.Linear(WIDE, WIDE) for _ in range(2))
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = current = self.stem(x)
        for fire, linear in zip(self.fires, self.linears, strict=False):
            current = linear(fire(current))
        return self.head(self.fires[-1](x + current)).mean(0)


class TimeOutside(nn.Module):
    """A loop over time around all layers, and a helper that calls a global function (as STBP's)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (nn.Linear(WIDE, size) for size in (WIDE, WIDE, CLASSES))

    @staticmethod
    def update(ops: nn.Module, x: Tensor, mem: Tensor, spike: Tensor) -> tuple[Tensor, Tensor]:
        mem = decayed(mem, spike, ops(x))
        return mem, act_fun(mem)

    def forward(self, x: Tensor) -> Tensor:
        zero = torch.zeros(x.shape[1], WIDE, dtype=x.dtype)
        (m1, s1), (m2, s2) = (zero, zero), (zero, zero)
        outs: list[Tensor] = []
        for current in x:
            m1, s1 = self.update(self.first, current, m1, s1)
            m2, s2 = self.update(self.second, s1, m2, s2)
            outs.append(self.head(s2))
        return torch.stack(outs).mean(0)


class NormsByStep(nn.Module):
    """The same with lists of layers, a norm for each step and a reset without gradient (as BNTT's)."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(WIDE, WIDE, bias=False) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDE) for _ in range(T * len(self.linears)))
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mems: list[Tensor | float] = [0.0] * len(self.linears)
        outs: list[Tensor] = []
        for t, spike in enumerate(x):
            for k, linear in enumerate(self.linears):
                mem = 0.9 * mems[k] + self.norms[t * len(mems) + k](linear(spike))
                over = mem / 1.0 - 1.0
                spike = Above.apply(over)
                mems[k] = mem - (over > 0).to(mem.dtype)
            outs.append(self.head(spike))
        return torch.stack(outs).mean(0)


class SharedNeuron(nn.Module):
    """One neuron module without a state for all layers, in a loop over time."""

    class Neuron(nn.Module):
        def forward(self, x: Tensor, mem: Tensor | float) -> tuple[Tensor, Tensor]:
            mem = 0.9 * mem + x
            spike = act_fun(mem)
            return spike, mem - 0.5 * spike

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (nn.Linear(WIDE, size) for size in (WIDE, WIDE, CLASSES))
        self.fire = self.Neuron()

    def forward(self, x: Tensor) -> Tensor:
        m1: Tensor | float = 0.0
        m2: Tensor | float = 0.0
        outs: list[Tensor] = []
        for current in x:
            s1, m1 = self.fire(self.first(current), m1)
            s2, m2 = self.fire(self.second(s1), m2)
            outs.append(self.head(s2))
        return torch.stack(outs).mean(0)


class SharedOverTime(nn.Module):
    """One neuron module for two layers, with all steps of the one before those of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (nn.Linear(WIDE, size) for size in (WIDE, WIDE, CLASSES))
        self.fire = MemUpdate()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fire(self.second(self.fire(self.first(x))))).mean(0)


class FiresTwice(nn.Module):
    """A neuron that asks its function for the reset of the step before too, without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        mem = torch.zeros_like(x[0])
        spikes: list[Tensor] = []
        for current in x:
            mem = 0.9 * mem + current - Above.apply(mem - 1.0).detach()
            spikes.append(Above.apply(mem - 1.0))
        return torch.stack(spikes)


class OneStep(nn.Module):
    """One step of a network, called by the training loop."""

    def __init__(self, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second, self.head = (nn.Linear(WIDE, size) for size in (WIDE, WIDE, CLASSES))
        self.fires = nn.ModuleList([neuron(), neuron()])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fires[1](self.second(self.fires[0](self.first(x)))))

    def rest(self) -> None:
        for fire in self.fires:
            vars(fire)["v"] = 0.0
