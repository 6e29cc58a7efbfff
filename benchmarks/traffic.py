"""What ranks of a distributed run send: gradients in every iteration, sums of δ in an observed one; counted.

    python benchmarks/traffic.py

One process stands for a rank of many (torch's fake process group): it trains a network for two iterations, of
which the second is observed, and what it gives to every collective is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.testing._internal.distributed.fake_pg import FakeStore

import a2sg
from a2sg.training.parallel import add_gradients

T, BATCH, EVERY = 4, 2, 500
NETWORKS = ("vgg11", "resnet19", "spikformer_4_384", "spikformer_8_512")
RANKS = (2, 8, 64, 1000)


class Sent(NamedTuple):
    """What one rank gave to collectives."""

    calls: int
    bytes: int

    def ring(self, ranks: int) -> float:
        """Bytes that it sends in a ring all-reduce, which is what gloo and NCCL do with large tensors."""
        return 2 * (ranks - 1) / ranks * self.bytes


@contextmanager
def counted() -> Iterator[list[Tensor]]:
    """All tensors that are given to `all_reduce` as long as the context lasts."""
    seen: list[Tensor] = []
    original = dist.all_reduce

    def all_reduce(tensor: Tensor, *args: Any, **options: Any) -> Any:
        seen.append(tensor)
        return original(tensor, *args, **options)

    dist.all_reduce = all_reduce
    try:
        yield seen
    finally:
        dist.all_reduce = original


def sent(tensors: list[Tensor]) -> Sent:
    return Sent(len(tensors), sum(tensor.nbytes for tensor in tensors))


def iterations(name: str) -> tuple[Sent, Sent, int]:
    """Of gradients, of an observed iteration's windows, and how many layers have those."""
    torch.manual_seed(0)
    model = a2sg.create_model(name, num_classes=10, steps=T, image_size=32)
    windows = a2sg.AdaptiveWindows(model, every=1, start=1)
    ddp = nn.parallel.DistributedDataParallel(model)
    ddp.register_comm_hook(None, add_gradients)
    images, labels = torch.rand(BATCH, 3, 32, 32), torch.arange(BATCH)
    for _ in range(2):
        with counted() as gradients:
            nn.functional.cross_entropy(ddp(images).mean(0), labels).backward()
        with counted() as sums:
            windows.step()
    return sent(gradients), sent(sums), len(windows.sites)


def main() -> None:
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=max(RANKS))
    found = {name: iterations(name) for name in NETWORKS}
    print("| network | layers | gradients | windows, observed | share | share if one in 500 is |")
    print("|---|---|---|---|---|---|")
    for name, (gradients, sums, layers) in found.items():
        share = sums.bytes / gradients.bytes
        print(
            f"| {name} | {layers} | {gradients.bytes / 1e6:.1f} MB, {gradients.calls} calls | "
            f"{sums.bytes / 1e3:.0f} kB, {sums.calls} call | {share:.2%} | {share / EVERY:.5%} |"
        )
    print(
        f"\n| ranks | gradients of {NETWORKS[-1]}, sent by each | its windows, sent by each |\n|---|---|---|"
    )
    gradients, sums, _ = found[NETWORKS[-1]]
    for ranks in RANKS:
        print(f"| {ranks:,} | {gradients.ring(ranks) / 1e6:.1f} MB | {sums.ring(ranks) / 1e3:.0f} kB |")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
