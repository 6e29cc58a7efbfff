"""What fresh pages cost on a CPU, and what keeping them wins: each setting in processes of its own (Linux).

    .venv/bin/python benchmarks/page_faults.py [--rounds 3] [--out benchmarks/results]

Settings: the C library as it is; `a2sg.memory.keep_pages()`; huge pages (THP_MEM_ALLOC_ENABLE=1, which torch
reads). Work: a LIF layer forward and backward at T = 4, and a training step of VGG16 at batch 32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

SETTINGS: dict[str, tuple[bool, dict[str, str]]] = {
    "as it is": (False, {}),
    "keep_pages": (True, {}),
    "huge pages": (False, {"THP_MEM_ALLOC_ENABLE": "1"}),
}
ELEMENTS = (2**16, 2**20, 2**22)


def one(keep: bool) -> dict[str, dict[str, float]]:
    """Milliseconds, page faults and peak memory of each piece of work, in this process."""
    import torch

    import a2sg
    from a2sg.surrogate import Triangle

    if keep:
        a2sg.memory.keep_pages()
    found = {}
    for elements in ELEMENTS:
        neuron = a2sg.LIF(4, surrogate=Triangle(), backend="compiled")
        x = (0.4 + 0.7 * torch.randn(4, 16, elements // 16)).requires_grad_()
        grad = torch.randn_like(x)

        def layer(neuron: torch.nn.Module = neuron, x: torch.Tensor = x, grad: torch.Tensor = grad) -> None:
            x.grad = None
            neuron(x).backward(grad)

        found[f"LIF, {elements:,} elements a step"] = timed(layer, 20)
    model = a2sg.create_model("vgg16", surrogate=Triangle(), neuron_options={"backend": "compiled"})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images).mean(0), labels).backward()
        optimizer.step()

    found["training step, vgg16"] = timed(step, 4)
    return found


def timed(work: Callable[[], None], calls: int) -> dict[str, float]:
    for _ in range(3):
        work()
    before, samples = faults(), []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        samples.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "milliseconds": 1000 * statistics.median(samples),
        "faults": (faults() - before) / calls,
        "process_peak_mib": peak,
    }


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--one", choices=["keep", "leave"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one == "keep")))
        return
    runs: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in SETTINGS}
    for turn in range(options.rounds):
        for name, (keep, environment) in SETTINGS.items():
            print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--one", "keep" if keep else "leave"]
            done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    table = {
        name: {
            work: {key: statistics.median(run[work][key] for run in found) for key in found[0][work]}
            for work in found[0]
        }
        for name, found in runs.items()
    }
    import torch

    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "rounds": options.rounds,
        "settings": table,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "page_faults.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("| work | " + " | ".join(f"{name}, ms | faults" for name in table) + " |")
    print("|---" * (1 + 2 * len(table)) + "|")
    for work in table["as it is"]:
        cells = [f"{table[n][work]['milliseconds']:.2f} | {table[n][work]['faults']:,.0f}" for n in table]
        print(f"| {work} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
