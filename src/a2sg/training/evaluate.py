"""Accuracy, spikes and energy of a trained network on its test data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import track

from a2sg.analysis.energy import EnergyMeter

if TYPE_CHECKING:
    from a2sg.training.task import ClassificationTask


@torch.no_grad()
def evaluate(task: ClassificationTask, device: torch.device, *, progress: bool = False) -> dict[str, Any]:
    """Measure a network on the whole test split.

    Returns:
        `accuracy` (0..1), `loss`, `spikes_per_sample`, `energy_nj_per_sample` (an estimate, see
        `a2sg.analysis.energy`) and `firing_rates` (per layer, a rate per step).
    """
    loader = task.val_dataloader()
    was_training = task.training
    task.to(device).eval()
    right = samples = 0
    loss = 0.0
    with EnergyMeter(task.model) as meter:
        hidden = not (progress and sys.stderr.isatty())
        for images, labels in track(loader, "evaluating", console=Console(stderr=True), disable=hidden):
            images, labels = images.to(device), labels.to(device)
            logits = task.model(images)
            right += int((task.loss.predict(logits) == labels).sum())
            loss += task.loss(logits, labels).item() * len(labels)
            samples += len(labels)
    task.train(was_training)
    energy = meter.result(samples=samples)
    return {
        "accuracy": right / samples,
        "loss": loss / samples,
        "samples": samples,
        "spikes_per_sample": energy.spikes,
        "energy_nj_per_sample": energy.picojoules / 1000,
        "firing_rates": energy.firing_rates,
    }
