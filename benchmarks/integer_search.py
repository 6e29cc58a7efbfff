"""What the sums of a search cost for integer spikes in plain torch, by levels: CPU time of one thread.

    python benchmarks/integer_search.py

One layer of four steps of 262,144 elements, 100 candidates. CPU time, not wall time, so that other work on
the machine counts little; the least of `--repeats`.
"""

from __future__ import annotations

import argparse
import time

import torch

from a2sg.kernels import Gate, sums
from a2sg.surrogate import Boxcar


def seconds(fill: sums.Fill, levels: int, repeats: int) -> float:
    generator = torch.Generator().manual_seed(0)
    u, g, r = torch.randn(3, 4, 2**18, generator=generator)
    gate = Gate(Boxcar(), tuple(k + 0.5 for k in range(levels)))
    seen = sums.Observation(gate, levels / 2 + levels / 3 * u, g, None, r[1:])
    lattice = torch.linspace(0.1, 1.0, 100, dtype=torch.float64).repeat(4, 1)
    spent = []
    for _ in range(repeats):
        table = lattice.new_zeros((*lattice.shape, len(sums.Sums)))
        start = time.process_time()
        fill(seen, lattice, table)
        spent.append(time.process_time() - start)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| levels | blocked s | binned s |")
    print("|---|---|---|")
    for levels in (1, 2, 4, 8):
        spent = (seconds(fill, levels, options.repeats) for fill in (sums.blocked, sums.binned))
        print(f"| {levels} | " + " | ".join(f"{each:.2f}" for each in spent) + " |", flush=True)


if __name__ == "__main__":
    main()
