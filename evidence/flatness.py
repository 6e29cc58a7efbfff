"""Curvature and sharpness of every run of a comparison, all under one surrogate, for the page of evidence.

    python evidence/flatness.py runs/NAME [--as OTHER_NAME] [--size 128] [--arms fixed,asy,a2sg]

Writes evidence/runs/NAME/flatness.csv. The size of a Gauss-Newton matrix follows the surrogate's, so arms
that train with different ones are compared under one that none of them has: the arctangent of area 1 at
window 1, at every step. Sharpness is the rise of the loss of the hard-spike network itself; the surrogate
only shows where to climb.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from a2sg.analysis import Objective, empirical_fisher, gauss_newton, worst_case_sharpness
from a2sg.neuron import SpikingNeuron
from a2sg.study.subject import training_batches
from a2sg.surrogate import Arctan
from a2sg.training.run import load_run
from store import measure, measure_parser

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
    parser = measure_parser(__doc__, "")
    parser.add_argument("--size", type=int, default=128, help="training samples")
    options = parser.parse_args()
    return measure(options, "flatness.csv", "curvature", lambda run: [flatness(run, options.size)])


if __name__ == "__main__":
    raise SystemExit(main())
