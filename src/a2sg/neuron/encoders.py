"""Numbers to spikes: rates (Poisson), latencies, and changes (delta)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from a2sg.errors import InputError, require, require_count, require_positive, require_share


class PoissonEncoder(nn.Module):
    """Spikes at random, at a rate that is the intensity: s[t] is 1 with probability min(gain · x, 1).

    Steps and elements are independent, so the count of T steps is binomial: its mean is T · gain · x. Random
    numbers are those of torch, or of a generator: the same seed gives the same spikes. Every forward pass
    draws anew, in evaluation too. No gradient goes to x.

    Args:
        steps: T.
        gain: probability of a spike at intensity 1, from 0 to 1.
        generator: is drawn from; it has to be on the device of x.

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
    """One spike for each element, the earlier the larger x: at step round((T - 1) · (1 - x)), from 0.

    Elements of at most `least` have none. Halves round to even, as torch does. No gradient goes to x.

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

    With the level r[0] = x[0]: ON if x[t] - r[t-1] >= threshold, OFF if it is <= -threshold, and then
    r[t] = r[t-1] + threshold · (ON - OFF). While the signal moves by no more than the threshold in a step, r
    stays less than the threshold away from it. No gradient goes to x.

    Args:
        threshold: above 0, in the unit of the signal.

    Raises:
        InputError: for an option out of range, or a signal without time and batch.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = require_positive("threshold", threshold)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Spikes `[T, B, 2, ...]`, OFF before ON, of a signal `[T, B, ...]`; its first step has none."""
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
    """Raise `InputError` for what is not from 0 to 1; a look that would stop a GPU's stream is left out."""
    require(
        x.is_floating_point(),
        f"intensities must be floating point from 0 to 1, not {x.dtype}: scale pixels with .float() / 255",
    )
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and x.numel():
        low, high = (value.item() for value in x.aminmax())
        hint = (
            "divide pixels by 255"
            if low >= 0
            else "pixels that are standardised are not (with data sets of your own, leave out mean and std)"
        )
        require(low >= 0 and high <= 1, f"intensities must be from 0 to 1, not {low:g} to {high:g}: {hint}")
