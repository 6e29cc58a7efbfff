"""What reset, leak and windows by step do to the gain through time at the start, for docs/gain.md.

    python evidence/gain_time.py [--seeds 0,1,2] [--out FILE.json]

20 dense layers with fresh weights look at 64 random images of N(0, 1). Printed is the norm of δ of the first
spiking layer over that of the last, at the last step, at the first and over all, and by how much paths
through time multiply the gradient in a layer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

import a2sg
from a2sg.analysis import Gains, layer_gains
from a2sg.progress import progress
from a2sg.surrogate import Asymmetric
from a2sg.window.site import find_sites

LAYERS, WIDTH, SIDE, BATCH = 20, 64, 8, 64
BIAS = 0.8
LENGTHS = 4, 16
"""T."""

Windows = tuple[float, float]
"""At the last step, and at all before it."""

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


def gains(neuron: str, options: dict[str, Any], windows: Windows, steps: int, seed: int) -> Gains:
    """Those of a network with fresh weights."""
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
    at_end, before = windows
    for site in find_sites(net).values():
        site.window = torch.tensor([before] * (steps - 1) + [at_end])
    images, labels = torch.randn(BATCH, 1, SIDE, SIDE), torch.randint(0, 10, (BATCH,))
    return layer_gains(net, (images, labels), lambda out, y: cross_entropy(out.mean(0), y), candidates=2)


def measured(found: Gains) -> dict[str, float]:
    """Over depth, and the part of time per layer."""
    first = found.layers[0]
    times = [layer.whole.time for layer in found.layers if layer.whole.time]
    return {
        "last": first.steps[-1].depth or math.nan,
        "first": first.steps[0].depth or math.nan,
        "whole": found.depth or math.nan,
        "time": math.exp(sum(map(math.log, times)) / len(times)),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: geometric means over seeds."""
    columns = ("last", "first", "whole", "time")
    heads = [f"T = {steps}: step T / 1 / all; time" for steps in LENGTHS]
    lines = ["| neuron, windows | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for variant in VARIANTS:
        cells = []
        for steps in LENGTHS:
            own = [row for row in rows if row["variant"] == variant and row["steps"] == steps]
            means = [math.exp(sum(math.log(row[name]) for row in own) / len(own)) for name in columns]
            cells.append("{:.2g} / {:.2g} / {:.2g}; {:.2f}".format(*means))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, help="every number, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = [
        (variant, steps, seed)
        for variant in VARIANTS
        for steps in LENGTHS
        for seed in map(int, options.seeds.split(","))
    ]
    rows = [
        {"variant": variant, "steps": steps, "seed": seed, **measured(gains(*VARIANTS[variant], steps, seed))}
        for variant, steps, seed in progress(every, "gains", len(every))
    ]
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
