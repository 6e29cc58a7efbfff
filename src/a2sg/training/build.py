"""From the description of a run to its parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from a2sg.data import ImageData, create_data
from a2sg.errors import InputError, require
from a2sg.models import create_model
from a2sg.surrogate import create_surrogate
from a2sg.training.config import OptimizerConfig, RunConfig
from a2sg.window import AdaptiveWindows


def build_data(config: RunConfig) -> ImageData:
    """The data set of a run."""
    return create_data(config.data.name, **config.data.options)


def build_model(config: RunConfig, data: ImageData) -> nn.Module:
    """The network of a run, made for `data`."""
    options: dict[str, Any] = dict(config.model.options)
    require(
        not {"steps", "neuron", "surrogate", "window", "num_classes"} & options.keys(),
        "model.options holds the network's own options: steps is model.steps, and neuron and surrogate have "
        "groups of their own",
    )
    return create_model(
        config.model.name,
        num_classes=len(data.classes),
        steps=config.model.steps,
        neuron=config.neuron.name,
        neuron_options=config.neuron.options,
        surrogate=create_surrogate(config.surrogate.name, **config.surrogate.options),
        window=config.surrogate.window,
        **options,
    )


def build_windows(config: RunConfig, model: nn.Module) -> AdaptiveWindows:
    """The windows of a run, adapted or watched."""
    w = config.windows
    return AdaptiveWindows(
        model,
        every=w.every,
        start=w.start,
        low=w.low,
        high=w.high,
        candidates=w.candidates,
        search=w.search,
        spatial=w.spatial,
        temporal=w.temporal,
        gradient=w.gradient,
    )


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer; biases and normalisation are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=config.lr)


def build_schedule(
    config: OptimizerConfig, optimizer: torch.optim.Optimizer, iterations: int, epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then a cosine to zero, over `iterations` optimizer steps in all."""
    warmup = min(round(iterations * config.warmup_epochs / epochs), iterations - 1)
    decline = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations - warmup)
    if warmup == 0:
        return decline
    rise = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=min(1.0, max(config.warmup_lr / config.lr, 1e-8)), total_iters=warmup
    )
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, decline], milestones=[warmup])


def find_device(name: str) -> torch.device:
    """The device that `name` (auto, cpu, cuda) means here.

    Raises:
        InputError: for cuda where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but no CUDA device is found here: use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
