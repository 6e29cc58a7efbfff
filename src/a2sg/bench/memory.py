"""Peak memory of a training step over T, each in a fresh process.

python -m a2sg.bench.memory OPTIONS.json        what such a process runs
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from a2sg.bench import report
from a2sg.bench.options import Options
from a2sg.bench.timing import say
from a2sg.bench.train import IN_WORDS, OBSERVED, RECORDED, WAYS, baseline_of, chosen
from a2sg.errors import require

MEGABYTE = 2**20


def measure(options: Options) -> report.Report:
    """One row per T and way to train."""
    # What a graph needs lies in a pool of its own, from recording on: no step rises above it.
    left_out = (OBSERVED, *RECORDED)
    names = [name for name in chosen(options) if name not in left_out]
    require(bool(names), f"memory measures ways without graphs that are not observed, none of {options.ways}")
    rows: list[dict[str, Any]] = []
    for steps in options.memory_steps:
        peaks = {}
        for name in names:
            say(f"memory, {options.network}, T = {steps}: {name}")
            peaks[name] = _fresh(name, steps, options)
        baseline = baseline_of(peaks)
        rows += [
            {
                "network": options.network,
                "steps": steps,
                "way": name,
                "megabytes": peak["peak"] / MEGABYTE,
                "ratio": peak["peak"] / peaks[baseline]["peak"],
                "ratio_to": baseline,
                "baseline_megabytes": peak["baseline"] / MEGABYTE,
            }
            for name, peak in peaks.items()
        ]
    baseline = rows[0]["ratio_to"]
    return report.Report(
        title=f"Peak memory of a training step, {options.network} at width {options.width:g}: "
        f"batch {options.batch}, {IN_WORDS[options.precision]}",
        columns=(
            report.Column("steps", "T", "d"),
            report.Column("way", "way"),
            report.Column("megabytes", "peak, MiB", ",.0f"),
            report.Column("ratio", f"ratio to {baseline}", ".2f"),
        ),
        rows=rows,
        notes=[
            "Each in a process of its own, which takes one step (to compile, and to make the optimizer's "
            "state), frees what it can, and measures how far another step rises above that: activations, "
            "gradients and work space, without the weights, the optimizer's state and the libraries. "
            + (
                "Counted by torch's CUDA allocator."
                if options.device == "cuda"
                else "Counted as resident memory."
            ),
        ],
        figure=report.lines(
            {name: {row["steps"]: row["megabytes"] for row in rows if row["way"] == name} for name in names},
            "T",
            "peak memory of a step, MiB",
        ),
    )


def peak(name: str, steps: int, options: Options) -> dict[str, float]:
    """Bytes held before a training step, and how far its peak rises above them."""
    step = WAYS[name](options, steps)
    step()
    gc.collect()
    if options.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        baseline = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return {"baseline": baseline, "peak": torch.cuda.max_memory_allocated() - baseline}
    _give_back()
    _forget_peak()
    baseline = _resident()
    step()
    return {"baseline": baseline, "peak": _peak() - baseline}


def _fresh(name: str, steps: int, options: Options) -> dict[str, float]:
    order = {
        "name": name,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "options": asdict(options),
    }
    command = [sys.executable, "-m", "a2sg.bench.memory", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} at T = {steps} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _give_back() -> None:
    """Let the C library return freed memory to the system, if it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> None:
    """Restart the process's peak of resident memory from now (Linux)."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _resident() -> int:
    """Bytes resident now (Linux); elsewhere the most there were so far."""
    return _status("VmRSS") or _peak()


def _peak() -> int:
    """The most bytes that were resident."""
    # On Linux, getrusage's ru_maxrss is inherited from the parent process; VmHWM is this process's own.
    if found := _status("VmHWM"):
        return found
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(field: str) -> int | None:
    """A size in /proc/self/status, in bytes."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _read(order: Mapping[str, Any]) -> Options:
    settled: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in order.items()
    }
    return Options(**settled)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    print(json.dumps(peak(order["name"], order["steps"], _read(order["options"]))))
