"""What reset, leak and windows by step do to the gain through time at the start, for docs/gain.md.

    python evidence/gain_time.py [--seeds 0,1,2] [--out FILE.json]

20 dense layers with fresh weights get 64 random images of N(0, 1). The table has the norm of δ of the first
spiking layer over that of the last, at the last step, at the first and over all, and the factor by which
paths through time multiply the gradient in a layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

import a2sg
from a2sg.analysis import Gains, layer_gains
from a2sg.surrogate import Asymmetric
from a2sg.window.site import find_sites
from fresh import Row, geometric_mean, run

LAYERS, WIDTH, SIDE, BATCH = 20, 64, 8, 64
BIAS = 0.8
LENGTHS = 4, 16
"""T."""

Windows = tuple[float, float]
"""The window at the last step, and at all steps before it."""

VARIANTS: dict[str, tuple[str, dict[str, Any], Windows]] = {
    "leak 0.9, soft reset": ("lif", {}, (2.0, 2.0)),
    "reset detached": ("lif", {"detach_reset": True}, (2.0, 2.0)),
    "hard reset": ("lif", {"reset": "hard"}, (2.0, 2.0)),
    "hard reset, detached": ("lif", {"reset": "hard", "detach_reset": True}, (2.0, 2.0)),
    "leak 0.5": ("lif", {"decay": 0.5}, (2.0, 2.0)),
    "no leak (IF)": ("if", {}, (2.0, 2.0)),
    "PLIF, from 0.5": ("plif", {"decay": 0.5}, (2.0, 2.0)),
    "window 2 at T, 1 before": ("lif", {}, (2.0, 1.0)),
    "window 1 at T, 2 before": ("lif", {}, (1.0, 2.0)),
    "window 1": ("lif", {}, (1.0, 1.0)),
    "window 4": ("lif", {}, (4.0, 4.0)),
}


def gains(variant: str, steps: int, seed: int) -> Gains:
    """The gains of a network with fresh weights."""
    neuron, options, (at_end, before) = VARIANTS[variant]
    torch.manual_seed(seed)
    net = a2sg.create_model(
        "mlp_small",
        in_channels=1,
        image_size=SIDE,
        steps=steps,
        hidden=[WIDTH] * LAYERS,
        neuron=neuron,
        neuron_options=options,
        surrogate=Asymmetric(bias=BIAS),
    )
    for site in find_sites(net).values():
        site.window = torch.tensor([before] * (steps - 1) + [at_end])
    images, labels = torch.randn(BATCH, 1, SIDE, SIDE), torch.randint(0, 10, (BATCH,))
    return layer_gains(net, (images, labels), lambda out, y: cross_entropy(out.mean(0), y), candidates=2)


def measured(variant: str, steps: int, seed: int) -> dict[str, float]:
    """Gain over depth, and the part of time per layer."""
    found = gains(variant, steps, seed)
    first = found.layers[0]
    times = [layer.whole.time for layer in found.layers if layer.whole.time]
    return {
        "last": first.steps[-1].depth or math.nan,
        "first": first.steps[0].depth or math.nan,
        "whole": found.depth or math.nan,
        "time": geometric_mean(times),
    }


def table(rows: Sequence[Row]) -> str:
    """Markdown: geometric means over seeds."""
    columns = ("last", "first", "whole", "time")
    heads = [f"T = {steps}: step T / 1 / all; time" for steps in LENGTHS]
    lines = ["| neuron, windows | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for variant in VARIANTS:
        cells = []
        for steps in LENGTHS:
            own = [row for row in rows if row["variant"] == variant and row["steps"] == steps]
            means = [geometric_mean([row[name] for row in own]) for name in columns]
            cells.append("{:.2g} / {:.2g} / {:.2g}; {:.2f}".format(*means))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = [{"variant": variant, "steps": steps} for variant in VARIANTS for steps in LENGTHS]
    run(__doc__, cases, measured, table)
