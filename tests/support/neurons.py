"""Neurons for the tests, each with its twin in reference.py, and input on which rounding decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import reference
from a2sg import IF, LIF, PLIF, IntegerLIF
from a2sg.kernels.backends import BackendName
from a2sg.kernels.dynamics import Order, Reset
from a2sg.neuron import SpikingNeuron
from reference import BY_NAME

# Twice the rounding of a 16-bit output; for float32 what a few dozen operations may add up to.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@dataclass(frozen=True)
class Setting:
    kind: str
    reset: Reset
    detach: bool
    order: Order
    steps: int
    shape: str = "asymmetric"
    threshold: float = 1.0
    dtype: torch.dtype = torch.float64
    decay: float = 0.9
    levels: int = 3

    def __str__(self) -> str:
        return "-".join(str(value).removeprefix("torch.") for value in vars(self).values())

    def neuron(self, windows: float | Tensor = 0.7, **options: Any) -> SpikingNeuron:
        common: dict[str, Any] = {
            "steps": self.steps,
            "threshold": self.threshold,
            "detach_reset": self.detach,
            "surrogate": BY_NAME[self.shape].shape,
            "window": windows,
        }
        if self.kind == "if":
            made: SpikingNeuron = IF(reset=self.reset, **common)
        elif self.kind == "integer":
            made = IntegerLIF(levels=self.levels, decay=self.decay, order=self.order, **common, **options)
        else:
            cls = PLIF if self.kind == "plif" else LIF
            made = cls(decay=self.decay, order=self.order, reset=self.reset, **common)
        return made.double() if self.dtype == torch.float64 else made

    def reference(self, neuron: SpikingNeuron) -> reference.Neuron:
        decay: Tensor | float = 1.0 if self.kind == "if" else self.decay
        if isinstance(neuron, PLIF):
            decay = torch.sigmoid(neuron.raw_decay.detach().double()).requires_grad_()
        return reference.Neuron(
            BY_NAME[self.shape].formula,
            decay,
            self.threshold,
            self.reset,
            self.detach,
            self.order,
            self.levels if self.kind == "integer" else None,
        )


def draw(setting: Setting, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights of the loss and windows, such that no rounding decides about a spike or a window."""
    neuron = setting.neuron()
    twin = setting.reference(neuron)
    margin = 1e-9 if setting.dtype == torch.float64 else 1e-5
    for attempt in range(100):
        generator = torch.Generator().manual_seed(attempt)
        windows = 0.3 + 0.8 * torch.rand(setting.steps, generator=generator)
        size = setting.threshold * (1.5 if setting.kind == "integer" else 1.0)
        size = size / (setting.decay if setting.order == "scaled" else 1)
        noise = torch.randn(setting.steps, *shape, generator=generator, dtype=torch.float64)
        current = (size * (0.4 + noise)).to(setting.dtype)
        weights = torch.randn(noise.shape, generator=generator, dtype=torch.float64).to(setting.dtype)
        done = reference.run(twin, current.double(), windows.double())
        if not reference.ambiguous(twin, done, windows.double(), margin):
            return current, weights, windows
    raise AssertionError("every input drawn came too close to an edge")


def check_against_the_plain_loop(
    setting: Setting,
    shape: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    backend: BackendName = "auto",
    arrange: Callable[[Tensor], Tensor] = lambda current: current,
) -> None:
    """Spikes to the bit and gradients to rounding, against a float64 loop on the CPU.

    Args:
        setting: the neuron.
        shape: of a step `[B, ...]`.
        device: where it runs.
        backend: how.
        arrange: puts the input into another layout in memory.
    """
    current, weights, windows = draw(setting, shape)
    neuron = setting.neuron(windows).to(device)
    neuron.backend = backend
    spikes, grad = spikes_and_gradients(neuron, arrange(current.to(device)), weights.to(device))
    assert grad is not None
    assert spikes.dtype == grad.dtype == setting.dtype
    assert spikes.shape == current.shape

    twin = setting.reference(neuron.cpu())
    wide = current.double().requires_grad_()
    done = reference.run(twin, wide, windows.double())
    scale = setting.levels if setting.kind == "integer" else 1
    torch.testing.assert_close(
        spikes.cpu(), (done.spikes / scale).to(setting.dtype), rtol=0, atol=torch.finfo(setting.dtype).eps
    )
    (done.spikes / scale * weights.double()).sum().backward()
    assert wide.grad is not None
    # Per element against the largest gradient of its step: sums of terms of both signs may cancel.
    size = wide.grad.abs().flatten(1).amax(1).clamp_min(1e-3).reshape(-1, *[1] * len(shape))
    tolerance = TOLERANCE[setting.dtype]
    assert ((grad.cpu().double() - wide.grad).abs() <= tolerance * size).all()
    if isinstance(neuron, PLIF) and (setting.steps > 1 or setting.order == "scaled"):
        d = twin.decay
        assert isinstance(d, Tensor)
        assert d.grad is not None
        assert neuron.raw_decay.grad is not None
        expected = (d.grad * d * (1 - d)).item()  # decay = sigmoid(raw)
        rough = max(abs(expected), 1.0)
        assert abs(neuron.raw_decay.grad.item() - expected) <= max(tolerance, 1e-10) * rough


def spikes_and_gradients(
    neuron: SpikingNeuron, current: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor | None]:
    current = current.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    neuron.zero_grad()
    spikes = neuron(current)
    (spikes * weights).sum().backward()
    return spikes.detach(), current.grad
