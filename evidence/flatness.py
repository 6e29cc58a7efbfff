"""Curvature and sharpness of every run of a comparison, all under one surrogate, for the ledger.

    python evidence/flatness.py runs/NAME [--as OTHER_NAME] [--size 128] [--arms fixed,asy,a2sg]

Writes evidence/runs/NAME/flatness.csv. The size of a Gauss-Newton matrix follows the surrogate's, so arms
that train with different ones are compared under one that none of them has: the arctangent of area 1 at
window 1, at every step. Sharpness is the rise of the loss of the hard-spike network itself; the surrogate
only shows where to climb.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from store import STORE, runs_of
from torch import nn

from a2sg.analysis import Objective, empirical_fisher, gauss_newton, worst_case_sharpness
from a2sg.analysis.progress import progress
from a2sg.analysis.subject import training_batches
from a2sg.errors import InputError
from a2sg.neuron import SpikingNeuron
from a2sg.surrogate import Arctan
from a2sg.training.files import write_text
from a2sg.training.run import load_run
from a2sg.training.tables import csv_text

RADIUS = 0.3
"""Of the ball, in units of each filter's norm."""


def under_one_surrogate(model: nn.Module) -> nn.Module:
    """The network with the surrogate that all runs are compared under."""
    for neuron in model.modules():
        if isinstance(neuron, SpikingNeuron):
            neuron.surrogate = Arctan(area="unit")
            neuron.window.fill_(1.0)
    return model


def flatness(run: Path, size: int) -> dict[str, Any]:
    """One row: the same training samples for all runs of a data set."""
    task = load_run(run)
    batch = next(training_batches(task.data, size, seed=0))
    objective = Objective(under_one_surrogate(task.model), batch, task.loss)
    sharpness = worst_case_sharpness(objective, rho=RADIUS, scale="filter")
    newton = gauss_newton(objective, layers=(), probes=0, tolerance=1e-3)
    return {
        "arm": task.config.arm,
        "seed": task.config.seed,
        "samples": size,
        "train_loss": sharpness.loss,
        "gauss_newton": newton.whole.top[0],
        "fisher": empirical_fisher(objective, show_progress=False).whole.top[0],
        "sharpness": sharpness.increase,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="--out folder of a2sg compare")
    parser.add_argument("--as", dest="name", help="its name in evidence/runs (default: the folder's)")
    parser.add_argument("--size", type=int, default=128, help="training samples")
    parser.add_argument("--arms", default="", help="whose runs (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        runs = runs_of(options.folder, options.arms.split(",") if options.arms else ())
        rows = [flatness(run, options.size) for run in progress(runs, "curvature", len(runs))]
    except InputError as error:
        print(f"flatness.py: error: {error}", file=sys.stderr)
        return 2
    out = STORE / (options.name or options.folder.resolve().name)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "flatness.csv", csv_text(rows))
    print(f"wrote {out / 'flatness.csv'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
