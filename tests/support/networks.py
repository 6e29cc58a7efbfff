"""Small networks for the tests of the windows, each computed twice: by the package, and by reference.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import reference
from a2sg import IF, LIF, PLIF, AdaptiveWindows, IntegerLIF
from a2sg.kernels.dynamics import Order, Reset
from reference import BY_NAME

Key = TypeVar("Key")

NOW = {"every": 1, "start": 0}
"""Options that observe every iteration."""


@dataclass(frozen=True)
class Plan:
    """A network to build."""

    kind: str = "lif"
    shape: str = "asymmetric"
    steps: int = 4
    reset: Reset = "soft"
    detach: bool = False
    order: Order = "field"
    threshold: float = 1.0
    window: float = 1.0
    conv: bool = False

    def __str__(self) -> str:
        return "-".join(str(value) for value in vars(self).values())

    def neuron(self) -> nn.Module:
        common: dict[str, Any] = {
            "detach_reset": self.detach,
            "surrogate": BY_NAME[self.shape].shape,
            "window": self.window,
            "threshold": self.threshold,
        }
        if self.kind == "integer":
            return IntegerLIF(steps=self.steps, **common)
        if self.kind == "if":
            return IF(self.steps, reset=self.reset, **common)
        cls = PLIF if self.kind == "plif" else LIF
        return cls(self.steps, reset=self.reset, order=self.order, **common)

    def reference(self) -> reference.Neuron:
        decay = 1.0 if self.kind == "if" else 0.9
        levels = 4 if self.kind == "integer" else None
        formula = BY_NAME[self.shape].formula
        return reference.Neuron(formula, decay, self.threshold, self.reset, self.detach, self.order, levels)


class Net(nn.Module):
    """linear (or convolution) - neuron - linear - neuron - linear, the time mean read out."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.plan = plan
        first = nn.Conv2d(1, 3, 3, padding=1) if plan.conv else nn.Linear(9, 11)
        second = nn.Linear(27 if plan.conv else 11, 7)
        self.linears = nn.ModuleList([first, second])
        self.neurons = nn.ModuleList([plan.neuron(), plan.neuron()])
        self.out = nn.Linear(7, 4)
        self.double()
        with torch.no_grad():
            for linear in (first, second):
                assert linear.bias is not None
                linear.weight.mul_(2.5)
                linear.bias.add_(0.3)

    def current(self, layer: int, x: Tensor) -> Tensor:
        linear = self.linears[layer]
        if isinstance(linear, nn.Conv2d):
            x = x.unflatten(-1, (1, 3, 3))
            return linear(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return linear(x.flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer, neuron in enumerate(self.neurons):
            x = neuron(self.current(layer, x))
        return self.out(x.flatten(2)).mean(0)

    def loss(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return scale * nn.functional.cross_entropy(self(x), y, reduction="sum")

    def windows(self) -> dict[str, Tensor]:
        """A copy of the windows in use."""
        return {f"neurons.{i}": neuron.get_buffer("window").clone() for i, neuron in enumerate(self.neurons)}


class Replica:
    """The same network and weights with the plain neuron; one backward pass, kept whole."""

    def __init__(self, net: Net, x: Tensor, y: Tensor, full: bool = False) -> None:
        runs = []
        windows = {name: window.double() for name, window in net.windows().items()}
        twin = net.plan.reference()
        if net.plan.kind == "plif":
            twin = reference.replace(
                twin, decay=torch.sigmoid(net.neurons[0].get_parameter("raw_decay").detach())
            )
        value = x
        for layer, window in enumerate(windows.values()):
            done = reference.run(twin, net.current(layer, value), window)
            runs.append(done)
            value = done.spikes / (4 if net.plan.kind == "integer" else 1)
        loss = nn.functional.cross_entropy(net.out(value.flatten(2)).mean(0), y, reduction="sum")
        self.steps = {
            name: reference.steps_of(twin, done, loss, window, full)
            for (name, window), done in zip(windows.items(), runs, strict=True)
        }
        parameters = [*net.linears.parameters(), *net.out.parameters()]
        self.gradients = torch.autograd.grad(loss, parameters)

    def best(self, candidates: list[float]) -> dict[str, list[float | None]]:
        return {name: [step.best(candidates) for step in steps] for name, steps in self.steps.items()}


def batch(steps: int, size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, size, 9, dtype=torch.float64, generator=generator)
    return x, torch.randint(0, 4, (size,), generator=generator)


def candidates(low: float = 0.1, high: float = 1.0, count: int = 100) -> list[float]:
    """What a float32 window can hold of the uniform grid."""
    return torch.linspace(low, high, count, dtype=torch.float64).float().tolist()


def lists(net: Net) -> dict[str, list[float]]:
    return {name: window.tolist() for name, window in net.windows().items()}


def observe(net: Net, windows: AdaptiveWindows, x: Tensor, y: Tensor, scale: float = 1.0) -> None:
    """One iteration without an optimizer."""
    net.zero_grad()
    net.loss(x, y, scale).backward()
    windows.step()


def best_of(scores: Mapping[Key, float]) -> Key:
    """The first key of the largest value."""
    most = max(scores.values())
    return next(key for key, score in scores.items() if score >= most - 1e-9 * abs(most))


def assert_alike(one: Net, other: Net, x: Tensor, y: Tensor) -> None:
    """Outputs and gradients are the same to the bit."""
    assert torch.equal(one(x), other(x))
    for net in (one, other):
        net.loss(x, y).backward()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)
