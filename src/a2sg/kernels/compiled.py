"""The multi-step neuron fused by `torch.compile`: C++ on a CPU, Triton on a GPU, from the reference itself.

The functions of `reference` are traced once per dynamics, T and dtype over `[T, N]`, with N symbolic and the
windows read from memory: neither a new window nor a smaller last batch compiles anything again.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from a2sg.kernels import reference
from a2sg.kernels.dynamics import Dynamics
from a2sg.kernels.layout import layout_of
from a2sg.kernels.reference import Gradients

_number = itertools.count(1)


def forward(
    current: Tensor, decay: Tensor | float, initial: Tensor | None, dynamics: Dynamics
) -> tuple[Tensor, Tensor]:
    """As `reference.run`."""
    layout = layout_of(current)
    run = _forward(dynamics, len(current), current.dtype)
    start = None if initial is None else layout.step().flatten(initial.detach()[None])[0]
    spikes, final = run(layout.flatten(current.detach()), _plain(decay), start)
    return layout.restore(spikes), layout.step().restore(final[None])[0]


def backward(
    grad_spikes: Tensor | None,
    grad_final: Tensor | None,
    current: Tensor,
    decay: Tensor | float,
    initial: Tensor | None,
    window: Tensor,
    dynamics: Dynamics,
    *,
    decay_needs_grad: bool = False,
) -> Gradients:
    """As `reference.backward`, for windows `[T]`."""
    layout = layout_of(current)
    one = layout.step()
    run = _backward(dynamics, len(current), current.dtype, decay_needs_grad)
    grads = run(
        None if grad_spikes is None else layout.flatten(grad_spikes),
        None if grad_final is None else one.flatten(grad_final[None])[0],
        layout.flatten(current),
        decay,
        None if initial is None else one.flatten(initial[None])[0],
        window,
    )
    start = None if grads[2] is None else one.restore(grads[2][None])[0]
    return Gradients(layout.restore(grads[0]), grads[1], start)


@cache
def _forward(dynamics: Dynamics, steps: int, dtype: torch.dtype) -> Callable[..., Any]:
    def run(current: Tensor, decay: Tensor | float, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        trace = reference.forward(current, decay, initial, dynamics)
        return torch.stack(trace.spikes).to(dtype), trace.final

    return _compile(run)


@cache
def _backward(
    dynamics: Dynamics, steps: int, dtype: torch.dtype, decay_needs_grad: bool
) -> Callable[..., Any]:
    def run(
        grad_spikes: Tensor | None,
        grad_final: Tensor | None,
        current: Tensor,
        decay: Tensor | float,
        initial: Tensor | None,
        window: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        grads = reference.backward(
            grad_spikes,
            grad_final,
            current,
            decay,
            initial,
            window,
            dynamics,
            decay_needs_grad=decay_needs_grad,
        )
        return grads.current.to(dtype), grads.decay, None if initial is None else grads.initial

    return _compile(run)


def _compile(run: Callable[..., Any]) -> Callable[..., Any]:
    # Dynamo keeps at most 8 compilations per code object: a code object of its own gives each its 8.
    run.__code__ = run.__code__.replace(co_name=f"{run.__name__}_{next(_number)}")
    fused = torch.compile(run, dynamic=True, fullgraph=True)
    compiled = False

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled:
            return fused(*arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler warns of is nothing that a user could mend
            result = fused(*arguments)
        compiled = True
        return result

    return call


def _plain(decay: Tensor | float) -> Tensor | float:
    return decay.detach() if isinstance(decay, Tensor) else decay
