"""What a search costs on long sequences, by T and by how many windows a layer has: CPU time of one thread.

    python benchmarks/long_sequences.py --steps 100,1000

Two layers of 128 neurons on 16 sequences of 40 inputs, plain torch. CPU time, not wall time, so that other
work on the machine counts little. Iterations with and without a search take turns; medians of `--repeats`.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

import a2sg


def network(steps: int, groups: int | None) -> nn.Sequential:
    def neuron() -> a2sg.LIF:
        return a2sg.LIF(steps, groups=groups, backend="reference")

    return nn.Sequential(nn.Linear(40, 128), neuron(), nn.Linear(128, 128), neuron(), nn.Linear(128, 10))


def measured(steps: int, groups: int | None, repeats: int) -> tuple[float, float, int]:
    """CPU seconds of an ordinary and of an observed iteration, and bytes of the search's sums."""
    torch.manual_seed(0)
    net = network(steps, groups)
    windows = a2sg.AdaptiveWindows(net, every=2, start=1)
    x = torch.randn(steps, 16, 40)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(2 * repeats + 2):
        observed = windows.observing
        start = time.process_time()
        net(x).square().mean().backward()
        windows.step()
        seconds[observed].append(time.process_time() - start)
    ordinary, with_search = (statistics.median(each[1:]) for each in seconds)
    return ordinary, with_search, sum(one.table.nbytes for one in windows.observers.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", default="100,1000")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| T | windows a layer | ordinary s | observed s | ratio | sums MB | rows a search |")
    print("|---|---|---|---|---|---|---|")
    for steps in map(int, options.steps.split(",")):
        for groups in (None, 3, 1):
            ordinary, observed, size = measured(steps, groups, options.repeats)
            print(
                f"| {steps} | {groups or steps} | {ordinary:.3f} | {observed:.3f} "
                f"| {observed / ordinary:.2f} | {size / 1e6:.2f} | {2 * (groups or steps)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
