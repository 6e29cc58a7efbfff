"""A model is given back as it was, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode while the context lasts; every module gets back the mode that it had."""
    with modes_kept(model):
        model.train(training)
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Every module gets back the mode that it had, whatever happens in between."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def kept(model: nn.Module, parameters: bool = False) -> Iterator[None]:
    """Modes, buffers and `momentum`s of batch norms are restored afterwards, on errors too.

    Args:
        model: the network; gradients in `.grad` are not touched.
        parameters: whether parameters are restored as well: takes a copy of them.
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
