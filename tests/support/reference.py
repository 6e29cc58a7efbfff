"""The obvious way to compute what a2sg computes: float64, one step, one candidate, one formula at a time.

Shares no code with the package. Shapes are written from the table of the method's section 3, the neuron
is a loop that autograd differentiates, and a window is found by trying them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import a2sg.surrogate as shapes

Formula = Callable[[Tensor, Tensor], Tensor]
"""f(x, β), both float64."""


def inside(x: Tensor, b: Tensor) -> Tensor:
    return ((x >= -b) & (x <= b)).double()


def sech2(x: Tensor) -> Tensor:
    """4 / (eˣ + e⁻ˣ)², written so that nothing overflows."""
    small = torch.exp(-2 * x.abs())
    return 4 * small / (1 + small) ** 2


def dspike(x: Tensor, b: Tensor, k: float) -> Tensor:
    return k * sech2(k * x / (2 * b)) / (2 * math.tanh(k / 2)) * inside(x, b)


@dataclass(frozen=True)
class Case:
    """A shape of the package beside its formula written by hand, and its area at window β."""

    name: str
    shape: shapes.Surrogate
    formula: Formula
    area: Callable[[float], float]


CASES = [
    Case("boxcar", shapes.Boxcar(), lambda x, b: inside(x, b), lambda b: 2 * b),
    Case("boxcar-unit", shapes.Boxcar(area="unit"), lambda x, b: inside(x, b) / (2 * b), lambda b: 1),
    Case("triangle", shapes.Triangle(), lambda x, b: (1 - x.abs() / b) * inside(x, b), lambda b: b),
    Case(
        "triangle-unit",
        shapes.Triangle(area="unit"),
        lambda x, b: (1 - x.abs() / b) / b * inside(x, b),
        lambda b: 1,
    ),
    Case("asymmetric", shapes.Asymmetric(), lambda x, b: (x / (2 * b) + 0.5) * inside(x, b), lambda b: b),
    Case(
        "asymmetric-unit",
        shapes.Asymmetric(area="unit"),
        lambda x, b: (x + b) / (2 * b**2) * inside(x, b),
        lambda b: 1,
    ),
    Case(
        "asymmetric-0.8",
        shapes.Asymmetric(bias=0.8),
        lambda x, b: (x / (2 * b) + 0.8) * inside(x, b),
        lambda b: 1.6 * b,
    ),
    Case(
        "asymmetric-0.8-unit",
        shapes.Asymmetric(bias=0.8, area="unit"),
        lambda x, b: (x / (2 * b) + 0.8) / (1.6 * b) * inside(x, b),
        lambda b: 1,
    ),
    Case(
        "pinned",
        shapes.PinnedAsymmetric(),
        lambda x, b: (0.4 * x / (2 * b) + 0.8) * inside(x, b),
        lambda b: 1.6 * b,
    ),
    Case(
        "pinned-0-unit",
        shapes.PinnedAsymmetric(floor=0.0, area="unit"),
        lambda x, b: (x / (2 * b) + 0.5) / b * inside(x, b),
        lambda b: 1,
    ),
    Case("arctan", shapes.Arctan(), lambda x, b: b**2 / (b**2 + x**2), lambda b: math.pi * b),
    Case(
        "arctan-unit",
        shapes.Arctan(area="unit"),
        lambda x, b: b / (math.pi * (b**2 + x**2)),
        lambda b: 1,
    ),
    Case("sigmoid", shapes.Sigmoid(), lambda x, b: sech2(x / (2 * b)), lambda b: 4 * b),
    Case("sigmoid-unit", shapes.Sigmoid(area="unit"), lambda x, b: sech2(x / (2 * b)) / (4 * b), lambda b: 1),
    Case("fast", shapes.FastSigmoid(), lambda x, b: b**2 / (b + x.abs()) ** 2, lambda b: 2 * b),
    Case(
        "fast-unit", shapes.FastSigmoid(area="unit"), lambda x, b: b / (2 * (b + x.abs()) ** 2), lambda b: 1
    ),
    Case("dspike", shapes.Dspike(), lambda x, b: dspike(x, b, 3.0), lambda b: 2 * b),
    Case(
        "dspike-5-unit",
        shapes.Dspike(temperature=5.0, area="unit"),
        lambda x, b: dspike(x, b, 5.0) / (2 * b),
        lambda b: 1,
    ),
    Case("boxcar-scaled", shapes.Boxcar(scale=0.75), lambda x, b: 0.75 * inside(x, b), lambda b: 1.5 * b),
    Case(
        "asymmetric-unit-scaled",
        shapes.Asymmetric(area="unit", scale=3),
        lambda x, b: 3 * (x + b) / (2 * b**2) * inside(x, b),
        lambda b: 3,
    ),
    Case(
        "arctan-scaled",
        shapes.Arctan(scale=0.5),
        lambda x, b: 0.5 * b**2 / (b**2 + x**2),
        lambda b: math.pi / 2 * b,
    ),
]
BY_NAME = {case.name: case for case in CASES}
AFFINE = [case for case in CASES if case.name.split("-")[0] in ("boxcar", "triangle", "asymmetric", "pinned")]


class Fire(torch.autograd.Function):
    """1 where x = u - threshold has reached 0; on the way back, the surrogate instead of the derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Tensor, formula: Formula) -> Tensor:
        ctx.save_for_backward(x, window)
        ctx.formula = formula
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, window = ctx.saved_tensors
        return grad * ctx.formula(x, window), None, None


@dataclass(frozen=True)
class Neuron:
    """A neuron's equations (method, section 2). `levels` > 1 is the integer neuron.

    Tensors of decay and threshold broadcast against a step, and autograd differentiates by them.
    """

    formula: Formula
    decay: Tensor | float = 0.9
    threshold: Tensor | float = 1.0
    reset: str = "soft"
    detach: bool = False
    order: str = "field"
    levels: int | None = None

    @property
    def thresholds(self) -> list[Tensor | float]:
        if self.levels is None:
            return [self.threshold]
        return [(k - 0.5) * self.threshold for k in range(1, self.levels + 1)]

    def derivative(self, u: Tensor, window: Tensor) -> Tensor:
        return torch.stack([self.formula(u - threshold, window) for threshold in self.thresholds]).sum(0)


@dataclass
class Run:
    """What happened: lists over time of potentials before the reset and of spikes."""

    u: list[Tensor]
    s: list[Tensor]
    v: Tensor

    @property
    def spikes(self) -> Tensor:
        return torch.stack(self.s)

    @property
    def potentials(self) -> Tensor:
        return torch.stack(self.u)


def run(neuron: Neuron, current: Tensor, windows: Tensor, initial: Tensor | None = None) -> Run:
    """T steps over `current` [T, B, ...]; autograd sees every operation."""
    v = torch.zeros_like(current[0]) if initial is None else initial
    us, ss = [], []
    for t in range(len(current)):
        u = neuron.decay * (v + current[t]) if neuron.order == "scaled" else neuron.decay * v + current[t]
        s = sum(Fire.apply(u - threshold, windows[t], neuron.formula) for threshold in neuron.thresholds)
        felt = s.detach() if neuron.detach else s
        v = u - neuron.threshold * felt if neuron.reset == "soft" else u * (1 - felt)
        us.append(u)
        ss.append(s)
    return Run(us, ss, v)


def ambiguous(neuron: Neuron, done: Run, windows: Tensor, margin: float) -> bool:
    """Whether a potential is so close to a threshold or a window's edge that rounding decides about it."""
    for u, window in zip(done.u, windows, strict=True):
        for threshold in neuron.thresholds:
            for mark in (threshold, threshold - window, threshold + window):
                gap = (u - mark).abs()
                if ((gap > 0) & (gap < margin)).any():
                    return True
    return False


@dataclass(frozen=True)
class Step:
    """All that the window of one layer and step depends on."""

    neuron: Neuron
    u: Tensor
    up: Tensor
    carry: Tensor
    later: Tensor | None
    """δ of the next step, under the window in use; None at the last step."""

    def delta(self, window: float) -> Tensor:
        return (
            self.up * self.neuron.derivative(self.u, torch.tensor(window, dtype=torch.float64)) + self.carry
        )

    def score(self, window: float) -> float | None:
        """-SGV or TGC, higher is better; None where it is 0/0."""
        delta = self.delta(window)
        if self.later is None:
            return None if (delta == 0).all() else -sgv(delta)
        return None if (delta == 0).all() or (self.later == 0).all() else tgc(delta, self.later)

    def best(self, candidates: list[float]) -> float | None:
        """The smallest of the candidates whose score is the largest, up to rounding."""
        scores = [self.score(window) for window in candidates]
        known = [score for score in scores if score is not None]
        if not known:
            return None
        enough = max(known) - 1e-9 * abs(max(known))
        return next(
            w for w, score in zip(candidates, scores, strict=True) if score is not None and score >= enough
        )


def sgv(delta: Tensor) -> float:
    return (torch.var(delta.double(), correction=0) / delta.double().abs().mean()).item()


def tgc(a: Tensor, b: Tensor) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    return (torch.dot(a, b) / (torch.linalg.norm(a) * torch.linalg.norm(b))).item()


def steps_of(neuron: Neuron, done: Run, loss: Tensor, windows: Tensor, full: bool = False) -> list[Step]:
    """The steps of one layer, from gradients that autograd took."""
    ups = torch.autograd.grad(loss, done.s, retain_graph=True)
    totals = torch.autograd.grad(loss, done.u, retain_graph=True)
    neuron = replace(neuron, decay=0.0)
    steps: list[Step] = []
    later = None
    for t in reversed(range(len(done.u))):
        u, up = done.u[t].detach(), ups[t]
        carry = totals[t] - up * neuron.derivative(u, windows[t])
        carry = carry if full else torch.zeros_like(carry)
        steps.insert(0, Step(neuron, u, up, carry, later))
        later = steps[0].delta(windows[t].item())
    return steps
