"""What a training step keeps for the backward pass, by kind of layer, with and without `pack_spikes`.

    .venv/bin/python benchmarks/saved_bytes.py [--model vgg16] [--steps 4] [--batch 32] [--rounds 5]

Counts the bytes that autograd saves in one forward pass (parameters aside, shared storages once), the peak
memory of a training step in a fresh process each (Linux), and the seconds of a step, interleaved.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import a2sg
import a2sg.memory
from a2sg.models.layers import SpikingLayer

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "inputs of convolutions": (nn.Conv2d,),
    "inputs of dense layers": (nn.Linear,),
    "currents into norm and neuron": (SpikingLayer,),
    "inputs of pools": (nn.AvgPool2d, nn.MaxPool2d),
}
OTHER = "everything else"
CLOCKS = {"wall time": time.perf_counter, "processor time": time.process_time}
MIB = 2**20


class Ledger:
    """Books every new storage that a forward pass of `model` saves under the kind of the layer."""

    def __init__(self, model: nn.Module) -> None:
        self.packing = a2sg.memory.pack_spikes()
        self.plain: Counter[str] = Counter()
        self.packed: Counter[str] = Counter()
        self.seen = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self.held: list[Any] = []
        self.running = [OTHER]
        for module in model.modules():
            kind = next((name for name, classes in KINDS.items() if isinstance(module, classes)), None)
            if kind is None:  # a hook on a norm or a neuron would keep the two from being merged
                continue
            module.register_forward_pre_hook(lambda *_, kind=kind: self.running.append(kind))
            module.register_forward_hook(lambda *_: self.running.pop() and None)

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        dense, packed = self.packing.dense, self.packing.packed
        self.held.append(self.packing.pack(tensor))
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            kind = self.running[-1]
            self.plain[kind] += storage.nbytes()
            saved = (self.packing.dense - dense) - (self.packing.packed - packed)
            self.packed[kind] += storage.nbytes() - saved
        return tensor.detach()  # held by autograd, so that no address is used twice


def build(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = a2sg.create_model(options.model, steps=options.steps, image_size=options.size)
    images = torch.randn(options.batch, 3, options.size, options.size)
    return model, images, torch.randint(0, 10, (options.batch,))


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(images).mean(0), labels)


def count(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Bytes by kind."""
    model, images, labels = build(options)
    ledger = Ledger(model)
    with saved_tensors_hooks(ledger.pack, lambda tensor: tensor):
        loss = loss_of(model, images, labels)
    del loss
    rows: list[dict[str, Any]] = [
        {"kind": kind, "plain": ledger.plain[kind], "packed": ledger.packed[kind]}
        for kind in (*KINDS, OTHER)
        if ledger.plain[kind]
    ]
    total = {key: sum(row[key] for row in rows) for key in ("plain", "packed")}
    return [*rows, {"kind": "all", **total}]


def step(model: nn.Module, images: Tensor, labels: Tensor, packed: bool) -> None:
    """Forward and backward, without an optimizer."""
    model.zero_grad(set_to_none=True)
    with a2sg.memory.pack_spikes() if packed else nullcontext():
        loss = loss_of(model, images, labels)
    loss.backward()


def peak(options: argparse.Namespace, packed: bool) -> int:
    """Bytes by which a training step, not the first, raises this (fresh) process at its peak; Linux."""
    model, images, labels = build(options)
    step(model, images, labels, packed)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts again
    before = status("VmRSS")
    step(model, images, labels, packed)
    return status("VmHWM") - before


def status(field: str) -> int:
    """Bytes, from what Linux says about this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found.group(1)) * 1024


def peak_in_fresh_process(packed: bool) -> int:
    command = [sys.executable, *sys.argv, "--peak", "packed" if packed else "plain"]
    return int(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, errors="replace").stdout
    )


def seconds(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds of forward and backward by clock and way, one entry a round."""
    model, images, labels = build(options)
    times: dict[str, dict[str, list[float]]] = {clock: {"plain": [], "packed": []} for clock in CLOCKS}
    for turn in range(options.rounds + 1):
        for name in ("plain", "packed"):
            starts = {clock: now() for clock, now in CLOCKS.items()}
            step(model, images, labels, name == "packed")
            if turn:  # the first is for warming up
                for clock, now in CLOCKS.items():
                    times[clock][name].append(now() - starts[clock])
    return times


def report(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A Markdown table, and what it was made from."""
    rows = count(options)
    lines = ["| kept for the backward pass | MiB | share | with `pack_spikes`, MiB |", "|---|---|---|---|"]
    for row in rows:
        share = row["plain"] / rows[-1]["plain"]
        lines.append(
            f"| {row['kind']} | {row['plain'] / MIB:.1f} | {share:.1%} | {row['packed'] / MIB:.1f} |"
        )
    peaks = {name: peak_in_fresh_process(name == "packed") for name in ("plain", "packed")}
    lines.append(f"| peak of a training step | {peaks['plain'] / MIB:.0f} | | {peaks['packed'] / MIB:.0f} |")
    times = seconds(options)
    lines += ["", "| a training step | s | with `pack_spikes`, s | ratio |", "|---|---|---|---|"]
    for clock, found in times.items():
        plain, packed = (statistics.median(found[name]) for name in ("plain", "packed"))
        ratio = statistics.median(b / a for a, b in zip(found["plain"], found["packed"], strict=True))
        lines.append(f"| {clock} | {plain:.2f} | {packed:.2f} | {ratio:.3f} |")
    lines += ["", f"Medians over {options.rounds} interleaved rounds."]
    return "\n".join(lines), {"rows": rows, "peak": peaks, "seconds": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", choices=["plain", "packed"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options, options.peak == "packed"))
        return
    text, found = report(options)
    machine = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    setting = (
        f"{options.model}, T = {options.steps}, batch {options.batch}, {options.size}x{options.size}, float32"
    )
    print(f"{setting}; {machine}, torch {torch.__version__}, {date.today().isoformat()}\n\n{text}")
    if options.out:
        about = {"setting": setting, "machine": machine, "torch": torch.__version__}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        content = {**about, "date": date.today().isoformat(), **found}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
