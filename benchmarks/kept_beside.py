"""What a training step keeps for the backward pass, ours plain and packed, beside SpikingJelly's.

    python benchmarks/kept_beside.py [--network resnet19] [--steps 4 8 16] [--batch 100] [--out FILE]

Counts the bytes of the storages that autograd saves in a forward pass (parameters and buffers aside, each
storage once). Over the batch they are a straight line: two small batches give it, a third must lie on it, and
so it holds for one that is too large for this machine. Needs SpikingJelly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from a2sg.bench.networks import NETWORKS
from a2sg.bench.options import CLASSES, IMAGE, Options
from a2sg.bench.report import machine
from a2sg.files import write_json
from a2sg.memory import pack_spikes

MIB = 2**20
COUNTED = 2, 4, 6
"""Batches: the line goes through the first two."""
OFF = 1e-3
"""How far from the line the third may lie, as a share."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Ledger:
    """Adds up what autograd saves, once for each storage."""

    def __init__(self, model: nn.Module, *, packed: bool) -> None:
        self.packing = pack_spikes() if packed else None
        self.seen = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
        self.total = 0
        self.held: list[Any] = []

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if self.packing is not None:
            before = self.packing.dense - self.packing.packed
            self.held.append(self.packing.pack(tensor))
            self.total -= self.packing.dense - self.packing.packed - before
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        # Held, so that no address is used twice.
        self.held.append(tensor.detach())
        return tensor.detach()


def kept(model: nn.Module, batch: int, dtype: torch.dtype, *, packed: bool) -> int:
    """Bytes."""
    images = torch.randn(batch, 3, IMAGE, IMAGE)
    labels = torch.randint(CLASSES, (batch,))
    ledger = Ledger(model, packed=packed)
    cast_too = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    with saved_tensors_hooks(ledger.pack, lambda tensor: tensor), cast_too:
        F.cross_entropy(model(images).mean(0), labels)
    return ledger.total


def line(count: Callable[[int], int], batch: int) -> float:
    """What `count` gives at `batch`, from three small ones."""
    small, middle, large = (count(size) for size in COUNTED)
    slope = (middle - small) / (COUNTED[1] - COUNTED[0])
    assert abs(small + slope * (COUNTED[2] - COUNTED[0]) - large) <= OFF * large, "not a straight line"
    return small + slope * (batch - COUNTED[0])


def rows_of(network: str, steps: int, batch: int) -> list[dict[str, Any]]:
    """One row per precision."""
    from spikingjelly.activation_based import functional

    torch.manual_seed(0)
    options = cast(Options, SimpleNamespace(width=1.0, reset="soft"))
    ours = NETWORKS[network].ours(options, steps)
    theirs = NETWORKS[network].spikingjelly(ours, options.reset)

    def of_theirs(dtype: torch.dtype, size: int) -> int:
        functional.reset_net(theirs)
        return kept(theirs, size, dtype, packed=False)

    counts: dict[str, Callable[[torch.dtype, int], int]] = {
        "plain": lambda dtype, size: kept(ours, size, dtype, packed=False),
        "packed": lambda dtype, size: kept(ours, size, dtype, packed=True),
        "theirs": of_theirs,
    }
    rows = []
    for precision, dtype in PRECISIONS.items():
        found = {name: line(partial(count, dtype), batch) for name, count in counts.items()}
        rows.append({"steps": steps, "precision": precision, **found})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| T | precision | a2sg, MiB | packed, MiB | SpikingJelly torch, MiB | a2sg to it | packed to it |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plain, packed, theirs = (row[name] / MIB for name in ("plain", "packed", "theirs"))
        lines.append(
            f"| {row['steps']} | {row['precision']} | {plain:,.0f} | {packed:,.0f} | {theirs:,.0f} "
            f"| {plain / theirs:.2f} | **{packed / theirs:.2f}** |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet19", choices=list(NETWORKS))
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--out", type=Path, help="a JSON file for all numbers")
    options = parser.parse_args()
    rows = [row for steps in options.steps for row in rows_of(options.network, steps, options.batch)]
    print(table(rows))
    if options.out:
        facts = {**machine("cpu"), "network": options.network, "batch": options.batch}
        write_json(options.out, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
