"""What an observed iteration costs the host: its time to an ordinary one's, with next to no data.

    python benchmarks/observed_time.py [--width 0.0625] [--batch 2] [--size 8] [--rounds 40]
        [--backend compiled]

Observed and ordinary iterations of ResNet19 take turns, T = 4, on one thread. Times are the process's own
processor time, which a busy machine hardly changes. The sums themselves are part of it: they grow with the
image, which `--size 32` shows.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch.nn.functional import cross_entropy

import a2sg
from a2sg.models import create_model

WARM_UP = 4
"""Pairs before the first that counts: kernels are compiled in them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=float, default=1 / 16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=8, help="of the images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=40, help="pairs of iterations (default: %(default)s)")
    parser.add_argument("--backend", default="compiled")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = create_model(
        "resnet19",
        image_size=options.size,
        width=options.width,
        neuron_options={"backend": options.backend},
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    windows = a2sg.AdaptiveWindows(net, every=2, start=1)
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.randint(10, (options.batch,))

    def iteration() -> tuple[float, float]:
        """Seconds of an iteration, and of `windows.step()` in it."""
        start = time.process_time()
        optimizer.zero_grad()
        cross_entropy(net(images).mean(0), labels).backward()
        optimizer.step()
        searched = time.process_time()
        windows.step()
        end = time.process_time()
        return end - start, end - searched

    pairs = [(iteration(), iteration()) for _ in range(WARM_UP + options.rounds)][WARM_UP:]
    ordinary, observed, search = (
        1000 * median(times)
        for times in zip(*((plain[0], seen[0], seen[1]) for plain, seen in pairs), strict=True)
    )
    ratio = median(seen[0] / plain[0] for plain, seen in pairs)
    print(
        f"ordinary {ordinary:.1f} ms, observed {observed:.1f} ms: **{ratio:.2f}**; of that the search "
        f"{search:.1f} ms ({options.backend}, images {options.size}x{options.size}, {options.rounds} pairs)"
    )


if __name__ == "__main__":
    main()
