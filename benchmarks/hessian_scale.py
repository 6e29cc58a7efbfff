"""How the Hessian of a small spiking network grows as the window narrows: is it 1/β²?

    .venv/bin/python benchmarks/hessian_scale.py [--seeds 5] [--smoothed]

The top eigenvalue, by absolute value, of the whole Hessian written out: of differentiating twice through the
surrogate, or with --smoothed of the network whose spikes are the integral of the surrogate: a true Hessian.
"""

from __future__ import annotations

import argparse
import math
from statistics import mean

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from a2sg.analysis import Controlled, curvature_by_window, power_laws
from a2sg.kernels import Spike
from a2sg.study.measure.fidelity import smooth_spike
from a2sg.study.measure.unrolled import surrogate_spike, unrolled

SMALL = Controlled(inputs=4, hidden=(6, 6), outputs=3)


def top_eigenvalue(model: nn.Module, batch: tuple[Tensor, Tensor], spike: Spike) -> float:
    """Of the Hessian by all parameters."""
    inputs, targets = batch
    parameters = dict(model.named_parameters())
    sizes = [parameter.numel() for parameter in parameters.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = zip(parameters.items(), flat.split(sizes), strict=True)
        values = {name: part.view(parameter.shape) for (name, parameter), part in parts}
        return nn.functional.cross_entropy(functional_call(model, values, (inputs,)), targets)

    flat = torch.cat([parameter.detach().flatten() for parameter in parameters.values()])
    with unrolled(model, spike):
        matrix = hessian(loss, flat)
    return float(torch.linalg.eigvalsh((matrix + matrix.T) / 2).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--smoothed", action="store_true")
    options = parser.parse_args()
    spike: Spike = smooth_spike if options.smoothed else surrogate_spike
    points = curvature_by_window(
        lambda model, batch: top_eigenvalue(model, batch, spike),
        seeds=range(options.seeds),
        samples=64,
        controlled=SMALL,
    )
    for law in power_laws(points):
        level = {
            window: math.exp(
                mean(math.log(p.curvature) for p in points if (p.shape, p.window) == (law.shape, window))
            )
            for window in sorted({point.window for point in points})[::4]
        }
        print(
            f"{law.shape}: exponent {law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}], off the line by "
            f"{law.residual:.2f}; "
            + ", ".join(f"{value:.3g} at {window:.2g}" for window, value in level.items())
        )


if __name__ == "__main__":
    main()
