"""Small networks as if trained, to be exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from a2sg import create_model

OPTIONS: dict[str, dict[str, Any]] = {
    "resnet": {"width": 0.05, "stem": "cifar"},
    "vgg": {"width": 0.2},
    "mlp": {"hidden": (9, 7)},
    "fcn": {"width": 0.1},
}


def options_of(name: str) -> dict[str, Any]:
    """Options that make a network small."""
    return next(options for part, options in OPTIONS.items() if part in name)


def network(name: str, size: int = 8, channels: int = 2, **options: Any) -> nn.Module:
    """A float64 network as if trained: no weight, bias or statistic is 0 or 1."""
    torch.manual_seed(0)
    model = create_model(name, in_channels=channels, image_size=size, num_classes=5, **options).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.weight.add_(torch.rand_like(module.weight)).mul_(0.7)
                module.bias.uniform_(-0.3, 0.6)
    for _ in range(3):  # statistics
        model(images(4, channels, size))
    return model.eval()


def images(count: int = 3, channels: int = 2, size: int = 8) -> Tensor:
    """Float64 `[B, C, H, W]`."""
    return torch.randn(count, channels, size, size, dtype=torch.float64)
