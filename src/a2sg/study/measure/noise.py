"""The gradient of the expected loss under small noise, by finite differences: what a surrogate stands in for.

A spiking network's loss is piecewise constant, and has no gradient worth the name. With noise in its
neurons the *expected* loss is smooth, and that gradient exists without any surrogate. Noise is added to the
membrane potential as it is compared with the threshold, again at every neuron and step, and not to what the
neuron carries on. So a neuron fires with probability Φ((u - threshold) / σ): for one neuron and step the
expected loss has a closed form, and its derivative is a bump of width σ, which compares with a window.
Noise on currents would add up through the leak, and its width at the threshold would differ from step to
step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from a2sg.energy.meter import batch_dimension
from a2sg.errors import require, require_count, require_positive
from a2sg.kernels.gate import Gate
from a2sg.progress import progress as show_progress
from a2sg.study.measure.objective import Batch, Loss
from a2sg.study.measure.probe import copied
from a2sg.study.measure.unrolled import unrolled

LIMIT = 20_000
"""Maximum number of parameters: with more, finite differences would take too long to be intended."""


class NoisySpike:
    """Fires where u + noise of deviation σ reaches the threshold; all forward passes get the same noise."""

    def __init__(self, deviation: float, seed: int) -> None:
        self.deviation = deviation
        self._generator = torch.Generator().manual_seed(seed)
        self._known: list[Tensor] = []
        self._at = 0

    def restart(self) -> None:
        """Start a forward pass: its first call gets the same noise as the first call of the last one."""
        self._at = 0

    def __call__(self, gate: Gate, potential: Tensor, window: Tensor | float) -> Tensor:
        if self._at == len(self._known):
            noise = torch.randn(potential.shape, generator=self._generator, dtype=potential.dtype)
            self._known.append((self.deviation * noise).to(potential.device))
        noise = self._known[self._at]
        self._at += 1
        return gate.fire(potential + noise)


@dataclass(frozen=True)
class NoisyGradient:
    """The gradient of the expected loss, estimated several times with noise of its own.

    Attributes:
        deviation: σ of the noise.
        estimates: of every parameter, by name, `[R, *shape]`.
    """

    deviation: float
    estimates: dict[str, Tensor]

    def mean(self) -> dict[str, Tensor]:
        """The best estimate, by parameter."""
        return {name: rows.mean(0) for name, rows in self.estimates.items()}


def noisy_gradient(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    deviation: float,
    *,
    samples: int = 128,
    replicates: int = 8,
    step: float | None = None,
    seed: int = 0,
    batch_dim: int | None = None,
    progress: bool = False,
) -> NoisyGradient:
    """Central finite differences of the expected loss under noise, for every parameter.

    Both sides of a difference get the same noise, so only neurons that fire on one side and not on the other
    contribute. Noise samples are added to the batch. Costs 2 · parameters · replicates forward passes of
    `samples` times the batch, in plain torch, so it is for networks of a few hundred parameters.

    Args:
        model: a small network of this package's neurons; a copy runs in evaluation mode.
        batch: (inputs, targets), on the model's device.
        loss: called with output and targets; gives the mean over samples.
        deviation: σ of the noise on the potentials, above 0.
        samples: of noise, per sample of the batch and replicate.
        replicates: estimates with noise of their own, at least 2.
        step: of the differences, in the unit of the parameters; None is σ/8. Its error grows with its square.
        seed: of the noise.
        batch_dim: the dimension of `inputs` that counts samples; None is 0 for images `[B, C, H, W]`, else 1.
        progress: whether to show a bar on a terminal.

    Raises:
        InputError: for an option out of range, or a model that is too large or has no neurons of this
            package.
    """
    require_positive("deviation", deviation)
    require_count("samples", samples)
    require_count("replicates", replicates, least=2)
    step = deviation / 8 if step is None else require_positive("step", step)
    model = copied(model).eval()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    count = sum(parameter.numel() for parameter in parameters.values())
    few = f"finite differences are for 1 to {LIMIT:,}"
    require(0 < count <= LIMIT, f"the model has {count:,} trained parameters: {few}")
    inputs, targets = repeated(batch, samples, batch_dim)
    spikes = [NoisySpike(deviation, seed * 1_000_003 + number) for number in range(replicates)]

    def losses() -> Tensor:
        values = []
        for spike in spikes:
            spike.restart()
            with unrolled(model, spike):
                values.append(loss(model(inputs), targets))
        return torch.stack(values).double()

    estimates = {}
    with torch.no_grad():
        for name, parameter in parameters.items():
            count, title = parameter.numel(), f"noise {deviation:g}, {name}"
            found = torch.zeros(replicates, count, dtype=torch.float64)
            for at in show_progress(range(count), title, count, None if progress else False):
                place = torch.unravel_index(torch.tensor(at), parameter.shape)
                before = parameter[place].clone()
                parameter[place] = before + step
                above = losses()
                parameter[place] = before - step
                found[:, at] = ((above - losses()) / (2 * step)).cpu()
                parameter[place] = before
            estimates[name] = found.view(-1, *parameter.shape)
    return NoisyGradient(deviation, estimates)


def repeated(batch: Batch, times: int, batch_dim: int | None) -> tuple[Tensor, Tensor]:
    """Every sample of a batch `times` times in a row."""
    inputs, targets = batch
    batch_dim = batch_dimension(inputs) if batch_dim is None else batch_dim
    require(
        batch_dim < inputs.dim() and inputs.shape[batch_dim] == len(targets),
        f"inputs {tuple(inputs.shape)} do not hold {len(targets)} samples in dimension {batch_dim}: set "
        "batch_dim to the dimension that does",
    )
    return inputs.repeat_interleave(times, batch_dim), targets.repeat_interleave(times, 0)
