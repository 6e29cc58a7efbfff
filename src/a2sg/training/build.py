"""Builds the parts of a run from its description."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn

from a2sg.data import ImageData, create_data
from a2sg.data.augment import Augment
from a2sg.data.draws import Augmentation
from a2sg.data.nda import NDA, RecordingAugment
from a2sg.data.scene_augment import SceneAugment
from a2sg.data.sets import DATA
from a2sg.errors import InputError, require
from a2sg.models import create_model
from a2sg.models.setting import MODELS
from a2sg.neuron import NEURONS
from a2sg.surrogate import SURROGATES, create_surrogate
from a2sg.training.config import OptimizerConfig, RunConfig
from a2sg.training.fields import fit_options
from a2sg.training.losses import LOSSES, Criterion, Loss, create_loss, require_weights
from a2sg.training.policies import create_policy
from a2sg.window import WindowPolicy

MIXES = {"cutmix", "mixup", "mix_until_epoch"}
OF_RECORDINGS = {"nda", "nda_flip", "erasing"} | MIXES
OF_SCENES = {"scenes"}
"""Fields of `AugmentConfig` for recordings and for scenes; images take all others. Those of `MIXES` need
classes."""

BALANCED = "balanced"
"""In place of class weights: compute them from the training samples."""


def build_data(config: RunConfig) -> ImageData:
    """The data set of a run; recordings come in as many frames as the network has steps."""
    options = config.data.options
    if config.data.name in DATA:
        options = fit_options(DATA[config.data.name], options, "data.options")
    if DATA.takes(config.data.name, "steps"):
        require("steps" not in options, "data.options.steps is model.steps: set that")
        options = {**options, "steps": config.model.steps}
    data = create_data(config.data.name, **options)
    if data.task == "classification":
        _require_labels(config.data.name, data)
    return data


def _require_labels(name: str, data: ImageData) -> None:
    """Raise `InputError` for labels in memory that are not among the classes: a GPU process would crash."""
    for part in (data.train, data.test):
        labels = getattr(part, "labels", None)
        if labels is None or len(labels) == 0:
            continue
        least, most = int(np.asarray(labels).min()), int(np.asarray(labels).max())
        require(
            least >= 0 and most < len(data.classes),
            f"data set {name!r} has {len(data.classes)} classes, so its labels must be from 0 to "
            f"{len(data.classes) - 1}, not {least} to {most}",
        )


def build_augment(config: RunConfig, data: ImageData) -> Augmentation:
    """The augmentation of a run's training images.

    Raises:
        InputError: for a value out of range, or an option that this data does not take.
    """
    options = asdict(config.augment)
    fits, kind = options.keys() - OF_SCENES - {"nda", "nda_flip"}, "images"
    if data.task == "segmentation":
        fits, kind = OF_SCENES, "scenes"
    elif data.steps is not None:
        fits, kind = OF_RECORDINGS, "recordings"
    if data.task == "regression":
        fits, kind = fits - MIXES, f"{kind} with numbers as labels"
    for field in fields(config.augment):
        require(
            field.name in fits or options[field.name] == field.default,
            f"augment.{field.name} is not for {kind} such as data set {config.data.name!r}: leave it at "
            f"{field.default}",
        )
    require(
        not (options["randaugment"] or options["scenes"]) or len(data.mean) > 0,
        f"augment.randaugment and augment.scenes change pixels, but data set {config.data.name!r} has none: "
        "leave them off",
    )
    nda, flips, scenes = (options.pop(name) for name in ("nda", "nda_flip", "scenes"))
    if scenes:
        return SceneAugment()
    images = Augment(len(data.classes), data.mean or (0.0,) * data.shape[0], **options)
    return RecordingAugment(NDA(flip=0.5 if flips else 0.0), images) if nda else images


def build_loss(config: RunConfig, data: ImageData) -> Criterion:
    """The loss of a run, for `data`.

    Class weights that are `balanced` are N / (K · n_k), with n_k of the N training samples in class k of K.

    Raises:
        InputError: for an option out of range, or a loss or class weights that do not fit the data.
    """
    name, options = config.loss.name, dict(config.loss.options)
    twice = "label_smoothing" in options
    require(not twice, "loss.options.label_smoothing is loss.label_smoothing: set that")
    kind = LOSSES.find(name)
    fitting = sorted(other for other, loss in LOSSES.items() if data.task in loss.tasks)
    require(
        data.task in kind.tasks,
        f"loss {name!r} is for {' and '.join(sorted(kind.tasks))}, but data set {config.data.name!r} is for "
        f"{data.task}: set loss.name to one of {', '.join(fitting)}",
    )
    if options.get("class_weights") == BALANCED:
        options["class_weights"] = _balanced(data)
    loss = create_loss(name, config.loss.label_smoothing, **fit_options(kind, options, "loss.options"))
    require(
        not data.padded or "lengths" in signature(loss.readout).parameters,
        f"loss {name!r} does not take lengths, but the recordings of data set {config.data.name!r} have "
        "different ones: give its methods an argument lengths, as a2sg.training.losses.Criterion says",
    )
    if isinstance(loss, Loss) and loss.class_weights:
        require_weights(loss.class_weights, len(data.classes))
    return loss


def _balanced(data: ImageData) -> list[float]:
    """Class weights under which every class counts alike."""
    labels = getattr(data.train, "labels", None)
    if labels is None or data.task != "classification":
        raise InputError(
            "loss.options.class_weights cannot be balanced, since this data set does not tell the classes of "
            "its samples beforehand: give a number for each class"
        )
    counts = np.bincount(np.asarray(labels), minlength=len(data.classes))
    require(
        bool(counts.all()),
        f"class {data.classes[int(counts.argmin())]!r} has no training samples, so class weights cannot be "
        "balanced: give a number for each class",
    )
    return [float(weight) for weight in counts.sum() / (len(counts) * counts)]


def build_model(config: RunConfig, data: ImageData) -> nn.Module:
    """The network of a run, built for `data`.

    Raises:
        InputError: for options that do not fit, or a factor on the learning rate of a head without a head.
    """
    channels, height, width = data.shape
    size = height if height == width else (height, width)
    options: dict[str, Any] = {"in_channels": channels, "image_size": size, **config.model.options}
    require(
        not {"steps", "neuron", "surrogate", "window", "num_classes"} & options.keys(),
        "model.options holds the network's own options: steps is model.steps, and neuron and surrogate have "
        "groups of their own",
    )
    make = MODELS.find(config.model.name)
    neuron = NEURONS.find(config.neuron.name)
    shape = SURROGATES.find(config.surrogate.name)
    with _room():
        model = create_model(
            config.model.name,
            num_classes=len(data.classes),
            steps=config.model.steps,
            neuron=config.neuron.name,
            neuron_options=fit_options(neuron, config.neuron.options, "neuron.options"),
            surrogate=create_surrogate(
                config.surrogate.name, **fit_options(shape, config.surrogate.options, "surrogate.options")
            ),
            window=config.surrogate.window,
            **fit_options(make, options, "model.options"),
        )
    if config.optimizer.head_factor != 1:
        head_of(model)  # raises before anything is written
    return model


def build_windows(config: RunConfig, model: nn.Module) -> WindowPolicy:
    """The rule that sets the windows of a run; A2SG's may only watch them."""
    with _room():
        return create_policy(config.windows, model)


@contextmanager
def _room() -> Iterator[None]:
    """Report missing memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error) and "memory" not in str(error):
            raise
        raise InputError(
            "this network and its windows need more memory than is available: choose smaller values in "
            "model.options"
        ) from error


def head_of(model: nn.Module) -> nn.Module:
    """The part of a network that classifies.

    Raises:
        InputError: if none of its parts is called `head`.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise InputError(
            "optimizer.head_factor is for a network with a part called head, and the parts of this one are "
            f"{', '.join(name for name, _ in model.named_children())}: leave it at 1"
        )
    return head


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, *, fused: bool = False
) -> torch.optim.Optimizer:
    """The optimizer; biases and normalisation are not decayed.

    Args:
        config: its description.
        model: the network.
        fused: whether one kernel updates all parameters, which is faster on a GPU.
    """
    head = list(head_of(model).parameters()) if config.head_factor != 1 else []
    of_head = {id(parameter) for parameter in head}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in of_head]
    groups = [
        {
            "params": [p for p in parameters if p.requires_grad and (p.dim() >= 2) == decays],
            "lr": config.lr * factor,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for parameters, factor in ((rest, 1.0), (head, config.head_factor))
        if parameters
        for decays in (True, False)
    ]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused or None
        )
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused or None)


def build_schedule(
    config: OptimizerConfig, optimizer: torch.optim.Optimizer, iterations: int, epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm-up, then a decline to zero, over `iterations` optimizer steps in all."""
    warmup = min(round(iterations * config.warmup_epochs / epochs), iterations - 1)
    lowest = min(1.0, max(config.warmup_lr / config.lr, 1e-8))
    if config.schedule == "onecycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=iterations + 1,  # the last one follows the last update
            pct_start=(warmup + 1) / (iterations + 1) if warmup else 0.0,
            cycle_momentum=False,
            div_factor=1 / lowest,
        )
    decline: torch.optim.lr_scheduler.LRScheduler
    if config.schedule == "poly":
        decline = torch.optim.lr_scheduler.PolynomialLR(optimizer, iterations - warmup, config.power)
    else:
        decline = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations - warmup)
    if warmup == 0:
        return decline
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=lowest, total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, decline], milestones=[warmup])
