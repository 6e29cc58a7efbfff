"""What an iteration of `a2sg train` spends beside the training step, and how near the loop comes to the step.

    .venv/bin/python benchmarks/pipeline.py [--recipe cifar10-resnet19] [--device cpu|cuda]
        [--precision 32|bf16|16] [--rounds 2] [--tiny] [--out FILE.json]

The samples are noise of the recipe's shape, so that no download is needed; network, augmentation, optimizer
and loader are the recipe's. Three things are measured, without any search of windows:

- an iteration by phase, as `a2sg train --profile` times it;
- the bare step: forward, backward and optimizer on one batch that lies on the device, by the same network,
  and by the same one with ReLU in place of its neurons;
- the loop: images per second of `a2sg train`, without its first iterations.

Step and loop are timed in turns; times are medians over the rounds, on a CPU of the processor's time.

With `--tiny` the network has a sixteenth of its width and batches of 2: then the time is the host's, which
works for tensors of any size alike. As many batches are augmented at once as at full size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

from a2sg.data import ArrayImages, ImageData, register_data
from a2sg.data.feed import AHEAD
from a2sg.devices import find_device
from a2sg.files import write_json, write_text
from a2sg.memory import keep_pages
from a2sg.neuron import SpikingNeuron
from a2sg.training.build import build_data
from a2sg.training.config import RunConfig
from a2sg.training.profile import profile
from a2sg.training.recipe import load_recipe
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import make_trainer

NEVER = 10**9
LEAST = 4
"""Iterations that are timed at least."""
SHAPES = {
    "cifar10": (10, 32),
    "cifar100": (100, 32),
    "fashion_mnist": (10, 28),
    "tiny_imagenet": (200, 64),
    "imagenet": (1000, 224),
}
"""Classes and side of the images that noise stands for."""
TYPES = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


@register_data("noise")
def noise(classes: int = 10, image_size: int = 32, channels: int = 3, samples: int = 1000) -> ImageData:
    """Noise in the shape of images."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (samples, channels, image_size, image_size), dtype=np.uint8)
    split = ArrayImages(pixels, draw.integers(classes, size=samples))
    return ImageData(
        train=split,
        test=split,
        classes=tuple(map(str, range(classes))),
        shape=(channels, image_size, image_size),
        description="noise",
        mean=(0.5,) * channels,
        std=(0.3,) * channels,
    )


def described(options: argparse.Namespace) -> tuple[RunConfig, int]:
    """The run, on noise of its shape, and how many batches it prepares at once."""
    recipe = load_recipe(options.recipe)
    classes, side = SHAPES[recipe.data.name]
    channels = 1 if recipe.data.name == "fashion_mnist" else 3
    ahead = max(LEAST, AHEAD // (recipe.data.batch_size * channels * side**2))
    batch = 2 if options.tiny else recipe.data.batch_size
    values: dict[str, Any] = {
        "device": options.device,
        "precision": options.precision,
        "epochs": 1,
        "windows.every": NEVER,
        "accumulate": 1,
        "data.name": "noise",
        "data.batch_size": batch,
        "data.options": {
            "classes": classes,
            "image_size": side,
            "channels": channels,
            "samples": batch * 4 * ahead,
        },
    }
    if options.tiny:
        values["model.options"] = {**recipe.model.options, "width": 1 / 16}
    return load_recipe(options.recipe, values), ahead


class Stopwatch(pl.Callback):
    """Seconds from one iteration to the last."""

    def __init__(self, first: int, device: torch.device) -> None:
        self.first = first
        self.device = device

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.first:
            self.start = now(self.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = now(self.device) - self.start


def now(device: torch.device) -> float:
    """The time once the device has done its work; on a CPU the time of the processor alone."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def loop_seconds(config: RunConfig, device: torch.device, ahead: int) -> float:
    """Of an iteration of `a2sg train`, with its callbacks and logger left out."""
    data = build_data(config)
    task = SpikingTask(config, data)
    task.most_ahead = ahead
    watch = Stopwatch(2 * ahead, device)
    trainer = make_trainer(
        config,
        device,
        max_epochs=1,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(task)
    return watch.seconds / (len(task.train_dataloader()) - watch.first)


def step_seconds(config: RunConfig, device: torch.device, iterations: int, relu: bool = False) -> float:
    """Of forward, backward and optimizer on one batch: the median."""
    task = SpikingTask(config, build_data(config))
    if relu:
        replaced(task.model)
    task.model.to(device).train()
    optimizer = task.optimizer(device)
    images = torch.randn(config.data.batch_size, *task.data.shape, device=device)
    labels = torch.zeros(config.data.batch_size, dtype=torch.int64, device=device)
    kind = TYPES[config.precision]
    found = []
    for _ in range(iterations // 4 + iterations):
        start = now(device)
        precision: AbstractContextManager[Any] = nullcontext()
        if kind is not None:
            precision = torch.autocast(device.type, kind)
        with precision:
            loss = task.loss(task.model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(now(device) - start)
    return statistics.median(found[iterations // 4 :])


def replaced(model: nn.Module) -> None:
    """ReLU in place of every neuron."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, SpikingNeuron):
                setattr(module, name, nn.ReLU())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="cifar10-resnet19")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=TYPES, help="default: bf16 on a GPU, 32 on a CPU")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="a JSON file; a table comes beside it, in Markdown")
    options = parser.parse_args()
    keep_pages()
    device = find_device(options.device)
    if options.precision is None:
        options.precision = "32" if device.type == "cpu" else "bf16"
    config, ahead = described(options)
    turns = [
        (
            step_seconds(config, device, ahead, relu=True),
            step_seconds(config, device, ahead),
            loop_seconds(config, device, ahead),
        )
        for _ in range(options.rounds)
    ]
    relu, step, loop = (statistics.median(column) for column in zip(*turns, strict=True))
    share = statistics.median(step / loop for _, step, loop in turns)
    with tempfile.TemporaryDirectory() as folder:
        profiled = profile(config, Path(folder) / "run", iterations=ahead)
    phases = {row["name"]: row["ordinary_ms"] for row in profiled["phases"]}
    found = {
        "recipe": options.recipe,
        "tiny": options.tiny,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "precision": config.precision,
        "batch_size": config.data.batch_size,
        "prepared_at_once": ahead,
        "phases_ms": phases,
        "step_ms": 1000 * step,
        "relu_step_ms": 1000 * relu,
        "loop_ms": 1000 * loop,
        "loop_images_per_second": config.data.batch_size / loop,
        "share_of_step": share,
        "augmentation_to_relu_step": phases["augmentation"] / (1000 * relu),
    }
    table = [*phases.items(), ("bare step", 1000 * step), ("bare step with ReLU", 1000 * relu)]
    table.append(("the loop", 1000 * loop))
    lines = [f"# An iteration of a2sg train {options.recipe}, batch {config.data.batch_size}", ""]
    lines += [
        f"On {found['device']}, precision {config.precision}.",
        "",
        "| per iteration | ms |",
        "|---|---|",
    ]
    lines += [f"| {name} | {milliseconds:.2f} |" for name, milliseconds in table]
    lines += ["", f"{found['loop_images_per_second']:.0f} images/s, {share:.0%} of the bare step's;"]
    lines += [f"augmentation is {found['augmentation_to_relu_step']:.1%} of the step with ReLU."]
    print("\n".join(lines))
    if options.out is not None:
        write_json(options.out, found)
        write_text(options.out.with_suffix(".md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
