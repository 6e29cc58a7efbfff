"""The paper's bridge from the variation of gradients to curvature, both sides computed on a dense layer.

Per sample a dense layer's gradient is g = a ⊗ δ, with its input a and δ = dL/d(output). With δ = μ1 + ε and
F = E[g gᵀ] the paper has λmax(F) <= μ² λmax(E[(a⊗1)(a⊗1)ᵀ]) + c μ² CV(δ), for a small CV. What holds without
further assumptions is Minkowski's inequality,

    sqrt λmax(F) <= |μ| sqrt λmax(E[(a⊗1)(a⊗1)ᵀ]) + sqrt E[‖a‖² ‖ε‖²]

whose last term is |μ| CV(δ) times the size of a. So both are computed, and the c that the paper's form needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from a2sg.errors import called, require
from a2sg.study.measure.objective import Batch, Forward, Loss
from a2sg.study.measure.probe import copied
from a2sg.study.measure.result import Result


@dataclass(frozen=True)
class Bridge(Result):
    """Both sides of the bridge, of one dense layer at one step.

    Attributes:
        layer: name of its module.
        step: from 1 to T; None if the layer ran once for all steps.
        samples: how many.
        mean: μ, the mean of δ over samples and outputs.
        cv: deviation of δ over |μ|; infinite if μ is 0.
        top: λmax(F), of the gradients of the layer's weights at this step.
        aligned: μ² λmax(E[(a⊗1)(a⊗1)ᵀ]), the part that is left if δ does not vary.
        bound: (sqrt(aligned) + sqrt(E[‖a‖² ‖ε‖²]))², which is never below `top`.
        trace: of F; never below `top` either.
        constant: the least c for which the paper's form holds here, (top - aligned) / (μ² CV), and 0 at
            least; None if μ or the CV is 0.
    """

    layer: str
    step: int | None
    samples: int
    mean: float
    cv: float
    top: float
    aligned: float
    bound: float
    trace: float
    constant: float | None


def dense_bridge(inputs: Tensor, delta: Tensor, *, layer: str = "", step: int | None = None) -> Bridge:
    """Both sides of the bridge from a dense layer's inputs and gradients.

    Args:
        inputs: a `[B, N]`.
        delta: per-sample δ `[B, M]`: of each sample's own loss.
        layer: what to call it.
        step: likewise.

    Raises:
        InputError: for shapes that do not fit.
    """
    require(
        inputs.dim() == delta.dim() == 2 and len(inputs) == len(delta) > 0,
        f"a bridge needs inputs [B, N] and gradients [B, M], not {tuple(inputs.shape)}, {tuple(delta.shape)}",
    )
    a, d = inputs.detach().double(), delta.detach().double()
    samples, outputs = d.shape
    mean = float(d.mean())
    rest = (d - mean).square()
    own = a @ a.T
    # The eigenvalues of E[g gᵀ] that are not 0 are those of the samples' inner products over B.
    gram = own * (d @ d.T)
    top, trace = float(torch.linalg.eigvalsh(gram)[-1]) / samples, float(gram.diagonal().mean())
    aligned = mean**2 * outputs * float(torch.linalg.eigvalsh(own)[-1]) / samples
    spread = float((own.diagonal() * rest.sum(1)).mean())
    cv = float(rest.mean()) ** 0.5 / abs(mean) if mean else float("inf")
    scale = mean**2 * cv if mean else 0.0
    constant = max(top - aligned, 0.0) / scale if scale else None
    bound = (aligned**0.5 + spread**0.5) ** 2
    return Bridge(layer, step, samples, mean, cv, top, aligned, bound, trace, constant)


def bridges(model: nn.Module, batch: Batch, loss: Loss, *, forward: Forward | None = None) -> list[Bridge]:
    """The bridge for every dense layer (`nn.Linear`) of a model and every step, on one batch.

    A copy runs in evaluation mode, so that each sample has its own gradient. Costs B x B inner products per
    layer and step. F is that of one step's gradients; the gradients of a layer's weights are the sum over
    steps.

    Args:
        model: the network; neurons of other libraries are adapted first (`a2sg.adapt`).
        batch: (inputs, targets), on the model's device.
        loss: called with output and targets; gives the *mean* over samples.
        forward: called with the copy and the inputs, if it is not `model(inputs)`.

    Raises:
        InputError: for a model without spiking neurons or dense layers, or one whose rows are not steps
            times samples.
    """
    inputs, targets = batch
    samples = len(targets)
    model = copied(model).eval()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    require(bool(layers), "the model has no dense layers (nn.Linear), which the bridge describes")
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
    hooks = [layer.register_forward_hook(partial(_keep, seen[name])) for name, layer in layers.items()]
    with torch.enable_grad():
        value = loss(forward(model, inputs) if forward else model(inputs), targets)
    for hook in hooks:
        hook.remove()
    outputs = [output for calls in seen.values() for _, output in calls]
    gradients = iter(torch.autograd.grad(value * samples, outputs, allow_unused=True))
    found = []
    for name, calls in seen.items():
        # The rows of one call, time first, or one call for each step.
        pairs: list[tuple[Tensor, Tensor]] = []
        for a, gradient in zip((inputs.flatten(0, -2) for inputs, _ in calls), gradients, strict=False):
            require(
                len(a) % samples == 0,
                f"{called(name)} reads {len(a)} rows, which is not a multiple of the {samples} targets: "
                "inputs must be [T, B, features], or [B, features] once a step",
            )
            if gradient is not None:
                pairs += zip(a.split(samples), gradient.flatten(0, -2).split(samples), strict=True)
        steps = [None] if len(pairs) == 1 else range(1, len(pairs) + 1)
        found += [dense_bridge(*pair, layer=name, step=step) for pair, step in zip(pairs, steps, strict=True)]
    return found


def _keep(calls: list[tuple[Tensor, Tensor]], _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    calls.append((inputs[0].detach(), output))
