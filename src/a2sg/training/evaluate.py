"""Score, spikes and energy of a trained network on its test data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from a2sg.energy import EnergyMeter
from a2sg.modes import in_mode
from a2sg.progress import progress as show_progress
from a2sg.ranks import add_up
from a2sg.training.metrics import build_metric

if TYPE_CHECKING:
    from a2sg.training.task import SpikingTask


@torch.no_grad()
def evaluate(task: SpikingTask, device: torch.device, *, progress: bool = False) -> dict[str, Any]:
    """Measure a network on the whole test split, which is divided among ranks.

    Returns:
        `accuracy` or `miou` (0..1), `loss`, `spikes_per_sample`, `energy_nj_per_sample` (an estimate, see
        `a2sg.energy`), `energy_uncounted` (what the estimate omits) and `firing_rates` (per layer, one rate
        per step).
    """
    task.to(device)
    batches = task.val_dataloader()
    metric = build_metric(task.data).to(device)
    shares = task.shares_of(task.data.test)
    totals = torch.zeros(3, dtype=torch.float64)  # samples, what they count, and their loss
    meter = EnergyMeter(task.model, real_input=task.data.steps is None)
    with in_mode(task, training=False), meter:
        show = progress and shares.rank == 0
        for number, (images, labels) in enumerate(
            show_progress(batches, "evaluating", len(batches), None if show else False)
        ):
            if shares.part(number) > 0:
                logits = task.model(images)
                lengths = task.lengths(images)
                metric.update(task.loss.predict(logits, **lengths), labels)
                counted = float(task.loss.counted(labels))
                loss = task.loss(logits, labels, **lengths).item()
                totals += torch.tensor([len(labels), counted, loss * counted], dtype=torch.float64)
    samples, counted, total = add_up(totals).tolist()
    meter.add_ranks()
    energy = meter.result(samples=int(samples))
    return {
        task.score.name: round(metric.compute().item(), 7),  # float32 has no further digits
        "loss": total / counted if counted else 0.0,
        "samples": int(samples),
        "spikes_per_sample": energy.spikes,
        "energy_nj_per_sample": energy.picojoules / 1000,
        "energy_uncounted": energy.uncounted,
        "firing_rates": energy.firing_rates,
    }
