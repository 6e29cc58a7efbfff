"""Speed of this tree against another revision of it: `a2sg bench` of both in turn, and ratios of pairs.

    python benchmarks/against.py 1061612 [--rounds 5] [--out FILE] [-- options of a2sg bench]

Each round runs the bench of both, in processes of their own, the order turned every time. A row's ratio is
the other revision's time over this tree's, pair by pair: above 1 this tree is faster. It holds where a
machine's speed drifts, which single figures do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from a2sg.bench.report import machine, provenance
from a2sg.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RUN = "import sys; from a2sg.bench.command import bench_command; sys.exit(bench_command(sys.argv[1:]))"
NAMES = ("network", "layer", "way", "library", "objective", "elements", "steps")
"""What tells one row of a bench from another, where it has it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("revision", help="the other revision, as git names it")
    parser.add_argument("--rounds", type=int, default=5, help="pairs (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a JSON file for all pairs")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    chosen = parser.parse_args(words[:at])
    bench = words[at + 1 :] or ["--only", "lif,train"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(folder / "other"), chosen.revision], check=True)
        stack.callback(subprocess.run, [*git, "remove", "--force", str(folder / "other")], check=True)
        trees = {"this": ROOT / "src", "other": folder / "other" / "src"}
        pairs: dict[str, list[tuple[float, float]]] = {}
        for number in range(chosen.rounds):
            order = list(trees.items())[:: 1 if number % 2 else -1]
            found = {name: _bench(tree, folder / name, bench) for name, tree in order}
            for row, seconds in found["this"].items():
                if row in found["other"]:
                    pairs.setdefault(row, []).append((seconds, found["other"][row]))
            print(f"round {number + 1} of {chosen.rounds} done", file=sys.stderr, flush=True)
    facts = {**machine("cpu"), "peers": {}, "revision": chosen.revision, "bench": bench}
    if chosen.out:
        write_json(chosen.out, {**facts, "pairs": pairs})
    print(f"| what | this tree, ms | {chosen.revision}, ms | its time to this tree's: median (all pairs) |")
    print("|---|---|---|---|")
    for row, both in pairs.items():
        ratios = sorted(other / this for this, other in both)
        times = [1000 * median(side) for side in zip(*both, strict=True)]
        print(
            f"| {row} | {times[0]:.2f} | {times[1]:.2f} | "
            f"**{median(ratios):.2f}** ({ratios[0]:.2f} .. {ratios[-1]:.2f}) |"
        )
    print(f"\n{provenance(facts)}")


def _bench(tree: Path, out: Path, options: list[str]) -> dict[str, float]:
    """The median seconds of every row of ours that the bench of a tree measures."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *options, "--no-peers", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        sys.exit(f"the bench of {tree} failed:\n{done.stderr}")
    return {
        ", ".join([path.stem, *(str(row[name]) for name in NAMES if name in row)]): median(row["samples"])
        for path in sorted(out.glob("*.json"))
        for row in _rows(path)
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"]
    return [row for row in rows if row.get("samples")]


if __name__ == "__main__":
    main()
