"""Restores a model as it was, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode while the context lasts; then every module gets back its own mode."""
    with modes_kept(model):
        model.train(training)
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Every module gets back its own mode, whatever happens in between."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def kept(model: nn.Module, parameters: bool = False) -> Iterator[None]:
    """Modes, buffers and `momentum`s of batch norms are restored afterwards, even after an error.

    Args:
        model: the network; gradients in `.grad` are not touched.
        parameters: whether parameters are restored as well, which takes a copy of them.
    """
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    tensors = [*model.buffers(), *(model.parameters() if parameters else [])]
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        with modes_kept(model):
            yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        with torch.no_grad():
            for tensor, before in zip(tensors, saved, strict=True):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


@contextmanager
def as_it_was(model: nn.Module, but: Sequence[Tensor] = ()) -> Iterator[None]:
    """Restore a model's gradients, its buffers except those in `but`, and the random state.

    Inside the context, parameters start without a gradient, and gradients are computed.
    """
    spared = {id(tensor) for tensor in but}
    buffers = [buffer for buffer in model.buffers() if id(buffer) not in spared]
    copies = [buffer.detach().clone() for buffer in buffers]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    devices = {parameter.device.index for parameter, _ in gradients if parameter.device.type == "cuda"}
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        with torch.random.fork_rng(sorted(devices)), torch.enable_grad():
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, copy in zip(buffers, copies, strict=True):
                buffer.copy_(copy)
