"""Encoders from numbers to spikes: by rate (Poisson), latency, or change (delta)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_count, require_positive, require_share


class PoissonEncoder(nn.Module):
    """Random spikes at a rate proportional to the intensity: s[t] is 1 with probability min(gain · x, 1).

    Steps and elements are independent, so the count over T steps is binomial, with mean T · gain · x. Random
    numbers come from torch, or from a generator: the same seed gives the same spikes. Every forward pass
    draws new ones, in evaluation too. No gradient flows to x.

    Args:
        steps: T.
        gain: probability of a spike at intensity 1, from 0 to 1.
        generator: source of the random numbers; must be on the device of x.

    Raises:
        InputError: for an option out of range, or on a CPU for x outside of 0 to 1.
    """

    def __init__(self, steps: int, *, gain: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.steps = require_count("steps", steps)
        self.gain = require_share("gain", gain)
        self.generator = generator

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, ...]` of intensities `[B, ...]` from 0 to 1."""
        _require_intensities(x)
        drawn = torch.rand(
            (self.steps, *x.shape), dtype=torch.float32, device=x.device, generator=self.generator
        )
        return (drawn < self.gain * x).to(x.dtype)  # drawn is below 1


class LatencyEncoder(nn.Module):
    """One spike per element, earlier for larger x: at step round((T - 1) · (1 - x)), counted from 0.

    Elements of at most `least` get none. Halves round to even, as in torch. No gradient flows to x.

    Args:
        steps: T.
        least: intensity up to which there is no spike, from 0 to 1.

    Raises:
        InputError: for an option out of range, or on a CPU for x outside of 0 to 1.
    """

    def __init__(self, steps: int, *, least: float = 0.0) -> None:
        super().__init__()
        self.steps = require_count("steps", steps)
        self.least = require_share("least", least)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, ...]` of intensities `[B, ...]` from 0 to 1."""
        _require_intensities(x)
        at = ((self.steps - 1) * (1 - x)).round()
        step = torch.arange(self.steps, device=x.device).view(-1, *[1] * x.dim())
        return ((step == at) & (x > self.least)).to(x.dtype)


class DeltaEncoder(nn.Module):
    """ON and OFF spikes where a signal has moved by a threshold since its last spike (delta modulation).

    The level starts at r[0] = x[0]. ON if x[t] - r[t-1] >= threshold, OFF if it is <= -threshold, and then
    r[t] = r[t-1] + threshold · (ON - OFF). As long as the signal moves by at most the threshold per step, r
    stays less than the threshold away from it. No gradient flows to x.

    Args:
        threshold: above 0, in units of the signal.

    Raises:
        InputError: for an option out of range, or a signal without time and batch.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = require_positive("threshold", threshold)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, 2, ...]`, OFF before ON, of a signal `[T, B, ...]`; none in the first step."""
        if x.dim() < 2 or not x.is_floating_point():
            raise InputError(
                f"the signal must be floating point [T, B, ...], not {x.dtype} of shape {tuple(x.shape)}"
            )
        level, spikes = x[0], []
        for now in x:
            moved = now - level
            off_on = torch.stack([moved <= -self.threshold, moved >= self.threshold], 1).to(x.dtype)
            level = level + self.threshold * (off_on[:, 1] - off_on[:, 0])
            spikes.append(off_on)
        return torch.stack(spikes)


def _require_intensities(x: Tensor) -> None:
    """Raise `InputError` for values outside 0 to 1; on a GPU they are not read, as that would stall it."""
    require(
        x.is_floating_point(),
        f"intensities must be floating point from 0 to 1, not {x.dtype}: scale pixels with .float() / 255",
    )
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and x.numel():
        low, high = (value.item() for value in x.aminmax())
        hint = (
            "divide pixels by 255"
            if low >= 0
            else "standardised pixels are not (for your own data sets, leave out mean and std)"
        )
        require(low >= 0 and high <= 1, f"intensities must be from 0 to 1, not {low:g} to {high:g}: {hint}")
