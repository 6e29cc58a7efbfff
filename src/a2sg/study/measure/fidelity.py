"""How close is a surrogate gradient to a true one? Its cosine with two gradients that exist without it.

- *Smoothed*: the true gradient of the network whose spikes are F(u - threshold), the integral of the
  surrogate. It differs from the surrogate gradient only in the forward pass, and so says what hard spikes do
  to it. A shape of unit area goes from 0 to 1, like a spike; under another the smoothed network's spikes are
  of another size.
- *Noise*: the gradient of the expected loss under small noise; see `a2sg.study.measure.noise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_positive
from a2sg.kernels.gate import Gate
from a2sg.study.measure.noise import NoisyGradient, noisy_gradient
from a2sg.study.measure.objective import Batch, Loss, by_module
from a2sg.study.measure.probe import copied
from a2sg.study.measure.result import Result
from a2sg.study.measure.unrolled import neurons_of, unrolled
from a2sg.study.measure.variation import jackknife
from a2sg.surrogate import Surrogate
from a2sg.surrogate.registry import side_by_side

SHAPES = side_by_side("unit")
"""Shapes of area 1."""
WINDOWS = (0.125, 0.25, 0.5, 1.0, 2.0)

Gradients = dict[str, Tensor]
"""dL/dθ by the parameter's name."""


@dataclass(frozen=True)
class FidelityRow(Result):
    """A surrogate gradient compared with a true one.

    Attributes:
        shape: of the surrogate.
        window: its half-width β, at every layer and step; None where each has its own.
        reference: "smoothed" or "noise".
        noise: σ of the noise; None for the smoothed network.
        layer: name of the module with the parameters; "all" for all of them together.
        parameters: how many.
        cosine: of the two gradients, -1 .. 1; None where either is 0.
        error: its standard error, by the jackknife over replicates of the noise; None where there is no
            noise.
        reliability: cosine between two halves of the replicates; None where there is no noise.
        ceiling: what the true gradient itself could be expected to reach, sqrt(2r / (1 + r)) of the
            reliability r; None if r is not above 0, and where there is no noise.
        ratio: norm of the surrogate gradient over that of the reference.
    """

    shape: str
    window: float | None
    reference: str
    noise: float | None
    layer: str
    parameters: int
    cosine: float | None
    error: float | None
    reliability: float | None
    ceiling: float | None
    ratio: float | None


def surrogate_fidelity(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    shapes: Mapping[str, Surrogate] = SHAPES,
    windows: Sequence[float] = WINDOWS,
    noises: Sequence[float] = (),
    **options: Any,
) -> list[FidelityRow]:
    """The cosine of surrogate gradients with true ones, for every layer, shape and window.

    Copies run in evaluation mode, with the weights of the model; the model does not change. The smoothed
    network is quick. Each entry of `noises` costs what `noisy_gradient` says, once for all shapes and
    windows, so it is for small networks.

    Args:
        model: a network of this package's neurons.
        batch: (inputs, targets), on the model's device.
        loss: called with output and targets; gives the mean over samples.
        shapes: of the surrogate, by name.
        windows: half-widths, each set at every layer and step.
        noises: σ of the noise on the potentials, each above 0; none leaves that reference out.
        **options: of `noisy_gradient`.

    Raises:
        InputError: for no shapes or windows, an option out of range, or a model without such neurons.
    """
    require(bool(shapes and windows), "give at least one shape and one window")
    for window in windows:
        require_positive("window", window)
    noisy = [noisy_gradient(model, batch, loss, noise, **options) for noise in noises]
    rows = []
    for name, shape in shapes.items():
        for window in windows:
            dressed = with_surrogate(model, shape, window)
            own = surrogate_gradient(dressed, batch, loss)
            rows += _compared(name, window, own, smoothed_gradient(dressed, batch, loss))
            for reference in noisy:
                rows += _compared(name, window, own, reference)
    return rows


def own_fidelity(model: nn.Module, batch: Batch, loss: Loss) -> list[FidelityRow]:
    """The cosine of a model's own surrogate gradient, shapes and windows as they are, with a smoothed one.

    The smoothed network's spikes are the integral of the surrogate scaled to area 1: they rise from 0 to 1
    over the window, as a spike jumps. Rows have the shape "own" and no window.

    Args:
        model: a network of this package's neurons; a copy runs in evaluation mode.
        batch: (inputs, targets), on the model's device.
        loss: called with output and targets; gives the mean over samples.
    """
    model = copied(model).eval()
    own = surrogate_gradient(model, batch, loss)
    for neuron in neurons_of(model):
        neuron.surrogate = replace(neuron.surrogate, area="unit")
    return _compared("own", None, own, smoothed_gradient(model, batch, loss))


def with_surrogate(model: nn.Module, shape: Surrogate, window: float) -> nn.Module:
    """A copy of a model in evaluation mode, in which all neurons have this shape and window."""
    model = copied(model).eval()
    for neuron in neurons_of(model):
        neuron.surrogate = shape
        neuron.window.fill_(window)
    return model


def surrogate_gradient(model: nn.Module, batch: Batch, loss: Loss) -> Gradients:
    """The gradient that training would follow; zeros for parameters without one."""
    inputs, targets = batch
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        value = loss(model(inputs), targets)
        wanted = list(parameters.values())
        found = torch.autograd.grad(value, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def smoothed_gradient(model: nn.Module, batch: Batch, loss: Loss) -> Gradients:
    """The true gradient of the network whose spikes are the integral of the surrogate, resets included."""
    model = copied(model)
    for neuron in neurons_of(model):
        neuron.detach_reset = False  # detached, the gradient would not be that of the network
    with unrolled(model, smooth_spike):
        return surrogate_gradient(model, batch, loss)


def smooth_spike(gate: Gate, potential: Tensor, window: Tensor | float) -> Tensor:
    """The integral of the surrogate, in place of a spike."""
    return gate.primitive(potential, window)


def _compared(
    shape: str, window: float | None, own: Gradients, reference: Gradients | NoisyGradient
) -> list[FidelityRow]:
    """A row per module with parameters, and one of all."""
    noise: float | None = None
    kind = "smoothed"
    if isinstance(reference, NoisyGradient):
        kind, noise, reference = "noise", reference.deviation, reference.estimates
    layers = {**by_module(own), "all": list(own)}
    rows = []
    for layer, names in layers.items():
        g = torch.cat([own[name].flatten().double().cpu() for name in names])
        parts = [reference[name].reshape(-1, own[name].numel()).double().cpu() for name in names]
        true = torch.cat(parts, 1)
        error = reliability = ceiling = None
        if noise is not None:
            error, reliability = _error(g, true), _cosine(true[::2].mean(0), true[1::2].mean(0))
            if reliability is not None and reliability > 0:
                ceiling = (2 * reliability / (1 + reliability)) ** 0.5
        best = true.mean(0)
        norm, cosine = float(best.norm()), _cosine(g, best)
        ratio = float(g.norm()) / norm if norm else None
        about = (shape, window, kind, noise, layer, len(g))
        rows.append(FidelityRow(*about, cosine, error, reliability, ceiling, ratio))
    return rows


def _cosine(a: Tensor, b: Tensor) -> float | None:
    norms = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / norms)) if norms else None


def _error(own: Tensor, true: Tensor) -> float | None:
    """Standard error of the cosine with the mean of R replicates `[R, P]`, each left out once."""
    total, others = true.sum(0), len(true) - 1
    return jackknife([_cosine(own, (total - row) / others) for row in true])
