"""The law of the backward gain and gradients measured at the start of training, for docs/gain.md.

    python evidence/gain_law.py [--seeds 0,1,2] [--out FILE.json]

Networks have fresh weights and get 64 random images of N(0, 1), so nothing has to be downloaded. The table
has the law for potentials of N(0, 1), and for each network the norm of δ of the first spiking layer over that
of the last, at the last step and at the first, next to the product of the law over its layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

import a2sg
import deep_nets  # noqa: F401 - registers plain_conv
from a2sg.analysis import layer_gains
from a2sg.surrogate import Asymmetric, Boxcar, Surrogate, Triangle
from fresh import Row, geometric_mean, run

STEPS, BATCH, SIDE = 4, 64, 16
SHAPES: dict[str, tuple[Surrogate, float]] = {
    "boxcar 0.5": (Boxcar(), 0.5),
    "boxcar 1": (Boxcar(), 1.0),
    "boxcar 0.5, scale 0.74": (Boxcar(scale=0.74), 0.5),
    "triangle 1": (Triangle(), 1.0),
    "ramp h 0.5, 1": (Asymmetric(), 1.0),
    "ramp h 0.5, 2": (Asymmetric(), 2.0),
    "ramp h 0.8, 1": (Asymmetric(bias=0.8), 1.0),
    "ramp h 0.8, 1, scale 0.75": (Asymmetric(bias=0.8, scale=0.75), 1.0),
    "ramp h 1, 1": (Asymmetric(bias=1.0), 1.0),
}
Make = Callable[[Surrogate, float], nn.Module]


NETWORKS: dict[str, Make] = {
    "20 dense layers": lambda surrogate, window: a2sg.create_model(
        "mlp_small", in_channels=3, image_size=SIDE, steps=STEPS, hidden=[64] * 20,
        surrogate=surrogate, window=window,
    ),
    "18 convolutions": lambda surrogate, window: a2sg.create_model(
        "plain_conv", image_size=SIDE, steps=STEPS, pools=0, surrogate=surrogate, window=window
    ),
    "resnet19, 1/8": lambda surrogate, window: a2sg.create_model(
        "resnet19", image_size=SIDE, steps=STEPS, width=1 / 8, surrogate=surrogate, window=window
    ),
}  # fmt: skip


def law(surrogate: Surrogate, window: float) -> float:
    """rms(f) / std(s) for potentials of N(0, 1) and threshold 1."""
    u = torch.linspace(-12, 12, 2_000_001, dtype=torch.float64)
    density = torch.exp(-u * u / 2)
    density /= density.sum()
    rate = float(density[u >= 1].sum())
    square = float((surrogate.derivative(u - 1, window).square() * density).sum())
    return math.sqrt(square / (rate * (1 - rate)))


def measured(network: str, shape: str, seed: int) -> dict[str, float]:
    """Gain over depth: at the last step, at the first, and by the law."""
    torch.manual_seed(seed)
    net = NETWORKS[network](*SHAPES[shape])
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(0, 10, (BATCH,))
    found = layer_gains(net, (images, labels), lambda out, y: nn.functional.cross_entropy(out.mean(0), y))
    first = found.layers[0].steps
    return {
        "last": first[-1].depth or math.nan,
        "first": first[0].depth or math.nan,
        "law": math.prod(layer.whole.law or math.nan for layer in found.layers[:-1]),
        "layers": len(found.layers),
    }


def table(rows: Sequence[Row]) -> str:
    """Markdown: geometric means over seeds."""
    lines = [
        "| shape, window | law | "
        + " | ".join(f"{name}: step {STEPS} / 1 (law)" for name in NETWORKS)
        + " |",
        "|---" * (2 + len(NETWORKS)) + "|",
    ]
    for shape, (surrogate, window) in SHAPES.items():
        cells = []
        for network in NETWORKS:
            own = [row for row in rows if row["shape"] == shape and row["network"] == network]
            means = [geometric_mean([row[name] for row in own]) for name in ("last", "first", "law")]
            cells.append("{:.2g} / {:.2g} ({:.2g})".format(*means))
        lines.append(f"| {shape} | {law(surrogate, window):.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    cases = [{"network": network, "shape": shape} for network in NETWORKS for shape in SHAPES]
    run(__doc__, cases, measured, table)
