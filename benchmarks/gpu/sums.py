"""The sums of an observed iteration, by gap and as a matrix product, for the layers of ResNet19.

    python benchmarks/gpu/sums.py [--out FILE.json] [--rounds 7] [--device cuda]
    TRITON_INTERPRET=1 python benchmarks/gpu/sums.py --device cpu --tiny    # without a card

The ways take turns. First their tables are compared, and for the smallest layer also with float64. Most of
the minute that this takes is compilation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from a2sg.bench.report import machine
from a2sg.bench.timing import interleave
from a2sg.files import write_json
from a2sg.kernels import Gate, sums, triton_bins, triton_products
from a2sg.kernels.sums import Fill, Observation, Sums
from a2sg.surrogate import Asymmetric

STEPS = 4
CANDIDATES = 101
"""A hundred, and the window in use."""

LAYERS = {100 * 128 * 32 * 32: 7, 100 * 256 * 16 * 16: 6, 100 * 512 * 8 * 8: 4}
"""Elements of a step, for 100 images of 32x32: how many such layers there are."""

SPREADS = (0.6, 1.3)
"""Deviation of the potentials: the widest window holds 0.83 and 0.54 of the elements."""

TOLERANCE = 1e-5
"""Largest difference of two tables, relative to the sums of absolute values."""


@dataclass(frozen=True)
class Way:
    """A way to sum, and what is set otherwise for it."""

    module: ModuleType
    constants: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def set(self) -> Iterator[Fill]:
        """Its fill, while its constants are set."""
        before = {name: getattr(self.module, name) for name in self.constants}
        try:
            for name, value in self.constants.items():
                setattr(self.module, name, value)
            yield self.module.fill
        finally:
            for name, value in before.items():
                setattr(self.module, name, value)

    def table(self, seen: Observation, candidates: Tensor) -> Tensor:
        """The sums `[K, C, 6]`."""
        with self.set() as fill:
            return table_of(fill, seen, candidates)


WAYS = {
    "by gap": Way(triton_bins),
    "product": Way(triton_products),
    "product, 512 read at once": Way(triton_products, {"READ": 512}),
    "product, more programs": Way(triton_products, {"REGISTERS": 168, "PROGRAMS": 12}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each way (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try it (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it works")
    chosen = parser.parse_args()
    rows = []
    for elements, count in {700: 7, 300: 6}.items() if chosen.tiny else LAYERS.items():
        for spread in SPREADS:
            seen, candidates = example(elements, spread, chosen.device)
            exact = elements <= min(LAYERS) and spread == SPREADS[0]
            apart = compare(seen, candidates, exact=exact)
            rounds, sample = (1, 0.0) if chosen.tiny else (chosen.rounds, 0.03)
            calls = {name: ready(way, seen, candidates) for name, way in WAYS.items()}
            timings = interleave(calls, rounds, sample, chosen.device, f"{elements:,} elements")
            first = timings["by gap"]
            inside = (seen.potential - seen.gate.thresholds[0]).abs() <= candidates.max()
            for name, timing in timings.items():
                rows.append(
                    {
                        "elements": elements,
                        "layers": count,
                        "inside": round(inside.float().mean().item(), 3),
                        "way": name,
                        "ms": 1000 * timing.median,
                        "speed": timing.speed(first),
                        "apart": apart[name],
                        "samples": timing.samples,
                    }
                )
    show(rows)
    if chosen.out:
        write_json(chosen.out, {**machine(chosen.device), "tiny": chosen.tiny, "rows": rows})


def example(elements: int, spread: float, device: str) -> tuple[Observation, Tensor]:
    """Steps of a layer as its backward pass shows them, and candidates."""
    generator = torch.Generator(device).manual_seed(0)
    u, g, r = torch.randn(3, STEPS, elements, generator=generator, device=device)
    seen = Observation(Gate(Asymmetric(), (1.0,)), 0.6 + spread * u, 1e-3 * g, later=5e-4 * r[:-1])
    lattice = torch.linspace(0.1, 1.0, CANDIDATES, dtype=torch.float64, device=device).float().double()
    return seen, lattice.expand(STEPS, -1).contiguous()


def ready(way: Way, seen: Observation, candidates: Tensor) -> Callable[[], object]:
    """A call that computes the table: on a card a CUDA graph, so that the host's time does not matter."""
    if candidates.device.type == "cpu":
        return partial(way.table, seen, candidates)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        way.table(seen, candidates)
    return graph.replay


def table_of(fill: Fill, seen: Observation, candidates: Tensor) -> Tensor:
    """The table that a fill adds up."""
    table = candidates.new_zeros((*candidates.shape, len(Sums)))
    fill(seen, candidates, table)
    return table


def compare(seen: Observation, candidates: Tensor, *, exact: bool) -> dict[str, float]:
    """How far each table is from the one by gap, or from that in float64, relative to its sums of sizes.

    Raises:
        RuntimeError: if one is too far.
    """
    fill: Fill = sums.blocked if exact else triton_bins.fill
    expected = table_of(fill, seen, candidates)
    absolute, square, later = (expected[..., column] for column in (Sums.ABS, Sums.SQUARE, Sums.LATER))
    size = torch.stack(
        [expected[..., Sums.COUNT], absolute, absolute, square, (square * later).sqrt(), later], -1
    )
    apart = {}
    for name, way in WAYS.items():
        difference = (way.table(seen, candidates) - expected).abs()
        apart[name] = (difference / size.clamp_min(1e-300)).max().item()
        if not apart[name] <= TOLERANCE:  # NaN is not
            raise RuntimeError(f"{name}: the table differs by {apart[name]:.1e}")
    return apart


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as Markdown, and what all layers take together."""
    print("| elements | layers | inside | way | ms | speed, ratio to by gap | difference |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['elements']:,} | {row['layers']} | {row['inside']:.2f} | {row['way']} | {row['ms']:.3f} "
            f"| {row['speed']:.2f} | {row['apart']:.1e} |"
        )
    print("\n| way | all layers, the first spread, ms | the second, ms |\n|---|---|---|")
    for name in WAYS:
        mine = [row for row in rows if row["way"] == name]
        totals = [sum(row["layers"] * row["ms"] for row in mine[at::2]) for at in range(len(SPREADS))]
        print(f"| {name} | " + " | ".join(f"{total:.2f}" for total in totals) + " |")


if __name__ == "__main__":
    main()
