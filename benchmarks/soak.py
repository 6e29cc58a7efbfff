"""Memory over a long training: a tiny network, windows searched often, a broken batch now and then.

    python benchmarks/soak.py [--iterations 20000] [--every 50] [--broken 1000]

Prints the resident memory of the process as it goes, and the rise from the first tenth to the last in all.
What `AdaptiveWindows.history` holds is part of that: a row per search, layer and step.
"""

from __future__ import annotations

import argparse
import gc

import torch
from torch import nn

import a2sg
from a2sg.bench.report import machine, provenance
from a2sg.models import SpikingLayer
from a2sg.models.layers import TdBatchNorm

PAGE = 4096
"""Bytes in which Linux counts."""


def resident() -> int:
    """Bytes of memory that the process has, of Linux."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument(
        "--every", type=int, default=50, help="iterations between searches (default: %(default)s)"
    )
    parser.add_argument(
        "--broken", type=int, default=1000, help="and between broken batches (default: %(default)s)"
    )
    chosen = parser.parse_args()
    torch.manual_seed(0)
    layers = [SpikingLayer(nn.Linear(n, 32), a2sg.LIF(4), norm=TdBatchNorm) for n in (16, 32)]
    net = nn.Sequential(*layers, nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    windows = a2sg.AdaptiveWindows(net, every=chosen.every, start=0)
    guard = a2sg.StepGuard(net, windows)
    seen: list[int] = []
    for iteration in range(chosen.iterations):
        x = torch.randn(4, 16, 16)
        if iteration % chosen.broken == chosen.broken - 1:
            x[0, 0, 0] = torch.nan
        optimizer.zero_grad()
        with guard:
            loss = nn.functional.cross_entropy(net(x).mean(0), torch.arange(16) % 4)
        loss.backward()
        guard.check(optimizer, loss.detach())
        optimizer.step()
        windows.step()
        if (iteration + 1) % max(1, chosen.iterations // 10) == 0:
            gc.collect()
            seen.append(resident())
            print(f"{iteration + 1:>8,} iterations  {seen[-1] / 2**20:8.2f} MiB", flush=True)
    rows = len(windows.history)
    print(
        f"rise after the first tenth: {(seen[-1] - seen[0]) / 2**20:.2f} MiB, with {rows:,} rows of history"
    )
    print(f"{guard.skipped} broken steps skipped; {provenance({**machine('cpu'), 'peers': {}})}")


if __name__ == "__main__":
    main()
