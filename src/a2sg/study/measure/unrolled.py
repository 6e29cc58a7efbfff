"""A network as a plain differentiable torch function, with a spike of the caller's choice.

    with unrolled(model, surrogate_spike):
        loss(model(images), labels).backward()  # the gradients of training, and they can be differentiated

In training, special kernels compute the gradients of neurons, which cannot be differentiated again. Inside
this context each neuron runs its steps one by one in plain torch, so that autograd can differentiate any
number of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import require
from a2sg.kernels import Gate, Spike
from a2sg.neuron import SpikingNeuron


def neurons_of(model: nn.Module) -> list[SpikingNeuron]:
    """The neurons of this package in a model."""
    return [module for module in model.modules() if isinstance(module, SpikingNeuron)]


@contextmanager
def unrolled(model: nn.Module, spike: Spike) -> Iterator[list[SpikingNeuron]]:
    """Every neuron of `model` runs step by step in plain torch while the context lasts.

    Batch norms run by themselves rather than merged with the neuron after them. `AdaptiveWindows` observes
    nothing. Of nested contexts the innermost holds; `a2sg.recording` works inside.

    Args:
        model: a network of this package's neurons.
        spike: called as `spike(gate, u, window)` with the neuron's `Gate`, the potential `[B, ...]` and the
            window of the step, which broadcasts against it; gives s `[B, ...]`.

    Yields:
        The neurons.

    Raises:
        InputError: if the model has none.
    """
    neurons = neurons_of(model)
    require(
        bool(neurons),
        f"{type(model).__name__} has no neurons of a2sg: only these can be differentiated twice or with "
        "another spike; neurons of other libraries keep their own gradients",
    )
    outer = [neuron.spike for neuron in neurons]
    try:
        for neuron in neurons:
            neuron.spike = spike
        yield neurons
    finally:
        for neuron, before in zip(neurons, outer, strict=True):
            neuron.spike = before


class SurrogateSpike:
    """The hard spike with the surrogate as its derivative, as in training, but differentiable twice.

    The backward pass returns gradient · f(u; window), and both factors have derivatives: f' is that of the
    formula. Differentiating twice therefore uses the surrogate as the derivative of spikes both times. Inside
    `spikes_constant`, spikes have no derivative: wrap the *second* differentiation in it.
    """

    def __init__(self) -> None:
        self.constant = False

    def __call__(self, gate: Gate, potential: Tensor, window: Tensor | float) -> Tensor:
        spikes: Tensor = _Surrogate.apply(potential, window, gate, self)
        return spikes

    @contextmanager
    def spikes_constant(self) -> Iterator[None]:
        """Inside this context, backward passes do not go through spikes, which are piecewise constant."""
        self.constant, before = True, self.constant
        try:
            yield
        finally:
            self.constant = before


surrogate_spike = SurrogateSpike()
"""Shared by all callers that do not use `spikes_constant`."""


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, potential: Tensor, window: Tensor | float, gate: Gate, kind: SurrogateSpike
    ) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.window, ctx.gate, ctx.kind = window, gate, kind
        return gate.fire(potential)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (potential,) = ctx.saved_tensors
        through = None if ctx.kind.constant else grad * ctx.gate.derivative(potential, ctx.window)
        return through, None, None, None
