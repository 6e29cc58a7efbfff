"""A model is given back as it was, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def kept(model: nn.Module, parameters: bool = False) -> Iterator[None]:
    """Modes, buffers and `momentum`s of batch norms are restored afterwards, on errors too.

    Args:
        model: the network; gradients in `.grad` are not touched.
        parameters: whether parameters are restored as well: takes a copy of them.
    """
    modes = {module: module.training for module in model.modules()}
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    tensors = [*model.buffers(), *(model.parameters() if parameters else [])]
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        with torch.no_grad():
            for tensor, before in zip(tensors, saved, strict=True):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
