"""The network that `a2sg inspect` looks at: a run with its data, or a fresh network with suitable data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from a2sg.data import ImageData, create_data
from a2sg.data.sets import DATA, collate
from a2sg.data.standardize import Standardize, to_unit
from a2sg.errors import InputError, require
from a2sg.models import create_model, list_models
from a2sg.registry import require_known
from a2sg.study.inspect.inspection import Inspection, inspect
from a2sg.study.measure.objective import Batch, Loss
from a2sg.study.run import open_run, usual_loss

RANDOM = (3, 32, 32)
"""Shape of random images."""
CLASSES = 10
"""Of random labels."""


@dataclass(frozen=True)
class Subject:
    """A network, a batch for it, and the names of both."""

    model: nn.Module
    batch: Batch
    loss: Loss
    facts: dict[str, str]

    def inspect(self, device: torch.device) -> Inspection:
        """Inspect it in training mode, so that its gradients are those of training."""
        images, labels = self.batch
        model = self.model.to(device).train()
        found = inspect(model, (images.to(device), labels.to(device)), self.loss)
        return replace(found, facts={**found.facts, **self.facts})


def find_subject(name: str, data: str | None, size: int, steps: int | None, seed: int) -> Subject:
    """The network and batch that a name on the command line stands for.

    Args:
        name: a model of `a2sg.list_models()`, or a run folder.
        data: a data set, or "random"; None is a run's own, for a model the digits if they fit, else random.
        size: of the batch.
        steps: T of a model; None is 4, and for a run its own.
        seed: of fresh weights, and of which samples are in the batch.

    Raises:
        InputError: if it is neither, if data do not fit, or for an option that a run does not take.
    """
    torch.manual_seed(seed)
    if name in list_models():
        return _fresh(name, data, size, 4 if steps is None else steps, seed)
    if not Path(name).exists():
        require(
            name not in DATA, f"{name!r} is a data set: give a network or a run folder, and --data {name}"
        )
        require_known("model or run folder", name, list_models())
    require(
        data is None and steps is None, f"{name} is a run: --data and --steps are those of its config.yaml"
    )
    run = open_run(Path(name))
    batch = next(training_batches(run.data, size, seed))
    found = _named(run.model, f"{run.config.model.name} of {name}", batch, run.config.data.name, run.loss)
    silence = run.task.windows.silence
    facts = {"optimizer": run.config.optimizer.name, **({"search": silence} if silence else {})}
    return replace(found, facts={**found.facts, **facts})


def _named(model: nn.Module, name: str, batch: Any, data: str, loss: Loss) -> Subject:
    """A subject, and its name."""
    samples = f"{len(batch[1])} training samples of {data}"
    return Subject(model, batch, loss, {"model": name, "batch": samples})


def _fresh(name: str, data: str | None, size: int, steps: int, seed: int) -> Subject:
    if data is None:
        try:
            return _on_data(name, "digits", size, steps, seed)
        except InputError:
            data = "random"
    if data != "random":
        require_known("data set", data, ["random", *DATA])
        return _on_data(name, data, size, steps, seed)
    channels, side, _ = RANDOM
    model = create_model(name, num_classes=CLASSES, steps=steps, in_channels=channels, image_size=side)
    images = torch.randn(size, *RANDOM)
    batch = images, torch.randint(CLASSES, (size, *_logits(model, images).shape[3:]))
    facts = {"model": f"{name} with fresh weights", "batch": f"{size} random images of {side}x{side} pixels"}
    return Subject(model, batch, usual_loss(), facts)


def _on_data(name: str, data_name: str, size: int, steps: int, seed: int) -> Subject:
    data = create_data(data_name, **({"steps": steps} if DATA.takes(data_name, "steps") else {}))
    channels, *sides = data.shape
    shape: dict[str, Any] = {"num_classes": len(data.classes), "in_channels": channels, "image_size": sides}
    model = create_model(name, steps=steps, **shape)
    images, labels = next(training_batches(data, size, seed))
    logits = _logits(model, images)
    require(
        logits.dim() - labels.dim() == (1 if data.task == "regression" else 2),
        f"model {name!r} gives logits {tuple(logits.shape)}, which do not fit the labels of data set "
        f"{data_name!r}: choose another with --data",
    )
    return _named(model, f"{name} with fresh weights", (images, labels), data_name, usual_loss(data.task))


def training_batches(data: ImageData, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Training samples, prepared as in evaluation, ready for a network: one pass, in the order of a seed.

    Args:
        data: a data set, such as that of `a2sg.training.run.load_run`.
        size: of each batch but the last.
        seed: of their order.
    """
    generator = torch.Generator().manual_seed(seed)
    loader: DataLoader[Any] = DataLoader(
        data.train, batch_size=size, shuffle=True, generator=generator, collate_fn=collate
    )
    standardize = Standardize(data.mean, data.std)
    for images, labels in loader:
        images = to_unit(images)
        yield standardize(images if data.steps is None else images.transpose(0, 1)), labels


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The model's output for one of the samples."""
    one = images[:1] if images.dim() == 4 else images[:, :1]
    logits: Tensor = model.eval()(one)
    return logits
