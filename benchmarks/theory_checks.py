"""The checks of docs/theory.md on trained digits: variation, theorems, bridge, fidelity, energy.

    .venv/bin/a2sg compare digits --arms fixed,a2sg --seeds 0,1,2 --out runs/digits
    .venv/bin/python benchmarks/theory_checks.py runs/digits

Prints plain tables: of every run's training, its theorems and bridge, the fidelity of a small network that it
trains itself, and energy against ReLU.
"""

from __future__ import annotations

import argparse
import math
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import a2sg
from a2sg.analysis import (
    Theorems,
    arm_points,
    batch_variation,
    bridges,
    check_theorems,
    energy_table,
    run_history,
    run_points,
    surrogate_fidelity,
)
from a2sg.data import create_data
from a2sg.study.measure.theory import MEASURES
from a2sg.study.subject import training_batches
from a2sg.surrogate import Triangle
from a2sg.training.run import load_run


def variation(folder: Path) -> None:
    """SGV (step T) and TGC (before) over training, means over layers, by thirds of the epochs."""
    points = run_history(folder)
    epochs = max(point.epoch or 0 for point in points)
    last = max(point.step for point in points)
    for third in range(3):
        part = [p for p in points if p.epoch and third * epochs / 3 < p.epoch <= (third + 1) * epochs / 3]
        sgv = [p.sgv for p in part if p.step == last and p.sgv is not None]
        tgc = [p.tgc for p in part if p.tgc is not None]
        print(f"{folder.name}: third {third + 1}: SGV {mean(sgv):.2e}, TGC {mean(tgc):.3f}")
    task = load_run(folder)
    found = batch_variation(task.model.train(), islice(training_batches(task.data, 64, seed=0), 8), task.loss)
    for step in found.steps:
        if step.step == last:
            print(
                f"{folder.name}: {step.layer} step {last}: SGV {step.sgv.mean:.2e} ± {step.sgv.error:.0e}, "
                f"CV {step.cv.mean:.1f} ± {step.cv.error:.1f}, sparsity {step.sparsity.mean:.2f}"
            )
    whole = found.signals[-1]
    print(f"{folder.name}: signal to noise of all parameters {whole.snr:.2f}, of 8 batches of 64")


def theorems(folders: list[Path]) -> None:
    """Which shape has the least CV, and where Theorem 4.2's condition holds, over all layers and steps."""
    steps = []
    for folder in folders:
        task = load_run(folder)
        steps += check_theorems(
            task.model.train(), next(training_batches(task.data, 256, seed=0)), task.loss
        ).steps
    found = Theorems(steps)
    gaussian = sum(step.potential.gaussian for step in steps)
    print(f"{len(steps)} layer-steps of {len(folders)} runs, {gaussian} look Gaussian")
    for comparison in ("same_area", "same_window"):
        for measure in MEASURES:
            ended = dict(found.least(comparison, measure))
            every = dict(found.least(comparison, measure, bounded=False))
            print(f"least CV, {comparison}, {measure}: {ended}; with shapes that do not end: {every}")
    for measure in MEASURES:
        for row in found.ramps(measure):
            if row.symmetric == "triangle" and row.total:
                where = "holds" if row.condition else "does not hold"
                print(f"{row.asymmetric} < triangle, {measure}, condition {where}: {row.less} of {row.total}")


def bridge(folder: Path) -> None:
    """Both sides of the bridge on the dense layers."""
    task = load_run(folder)
    for one in bridges(task.model, next(training_batches(task.data, 256, seed=0)), task.loss):
        constant = "none" if one.constant is None else f"{one.constant:.2g}"
        print(
            f"{folder.name}: {one.layer} step {one.step}: CV {one.cv:.3g}, λmax {one.top:.2e}, aligned "
            f"{one.aligned:.1e}, bound {one.bound:.1e}, trace {one.trace:.1e}, c {constant}"
        )


def fidelity(noise: float) -> None:
    """Cosines on a small dense network on digits, after a short training; means over three seeds."""
    data = create_data("digits")
    table: dict[tuple[str, float], list[tuple[float, float, float]]] = {}
    for seed in range(3):
        torch.manual_seed(seed)
        model = a2sg.create_model(
            "mlp_small", in_channels=1, image_size=8, hidden=(8, 8), surrogate=Triangle(), steps=2
        )
        train(model, seed, epochs=5)
        batch = next(training_batches(data, 32, seed=seed))
        rows = surrogate_fidelity(
            model, batch, loss, noises=(noise,), samples=32, replicates=6, seed=seed, progress=True
        )
        whole = [row for row in rows if row.layer == "all"]
        for smooth, noisy in zip(whole[::2], whole[1::2], strict=True):
            assert smooth.window is not None
            cosines = (smooth.cosine or 0.0, noisy.cosine or 0.0, noisy.ceiling or math.nan)
            table.setdefault((smooth.shape, smooth.window), []).append(cosines)
        reached = loss(model(batch[0]), batch[1]).item()
        print(f"seed {seed}: {whole[0].parameters} parameters, loss {reached:.2f}")
    print("shape, window: cosine with the smoothed network's, with that under noise (ceiling)")
    for (shape, window), found in table.items():
        smooth, noisy, ceiling = (mean(column) for column in zip(*found, strict=True))
        print(f"{shape}, {window:g}: {smooth:.3f}, {noisy:.3f} ({ceiling:.3f})")


def train(model: nn.Module, seed: int, epochs: int) -> None:
    """A few epochs of AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    data = create_data("digits")
    for epoch in range(epochs):
        for images, labels in training_batches(data, 64, seed=100 * seed + epoch):
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the mean over time."""
    return cross_entropy(logits.mean(0), labels)


def energy(comparison: Path, folder: Path) -> None:
    """A network against the same with ReLU, and the arms' points."""
    task = load_run(folder)
    found = energy_table(task.model, next(training_batches(task.data, 256, seed=0))[0])
    for layer in found.layers:
        print(
            f"{layer.layer}: {layer.macs:,.0f} MACs, {layer.accumulates:,.0f} accumulates, "
            f"{layer.picojoules / 1000:.1f} nJ; ReLU {layer.relu_macs:,.0f} MACs, "
            f"{layer.relu_picojoules / 1000:.1f} nJ; ratio {layer.ratio:.2f}"
        )
    own, relu = found.picojoules / 1000, found.relu_picojoules / 1000
    print(f"all: {own:.1f} nJ, ReLU {relu:.1f} nJ, {found.ratio:.2f}")
    for arm in arm_points(run_points(comparison)):
        print(f"{arm.arm}: {100 * arm.score:.2f} % at {arm.energy_nj:.1f} nJ, {arm.runs} runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("comparison", type=Path, help="a folder of a2sg compare")
    parser.add_argument("--noise", type=float, default=0.25, help="σ of the noise on potentials")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.comparison.glob("*/summary.json"))
    for folder in folders:
        if folder.name.endswith("-s0"):
            variation(folder)
            bridge(folder)
    theorems(folders)
    energy(options.comparison, folders[0])
    fidelity(options.noise)


if __name__ == "__main__":
    main()
