"""What the window search costs: its share of the training time, exact against grid.

    .venv/bin/python benchmarks/search_cost.py [--recipe digits] [--epochs 27] [--rounds 3] [--out FILE.json]

Trains the recipe once per search and period, and once without any observation, interleaved; the first
observed iteration is the first of the run. With a search in every iteration a ninth of the epochs is
enough. One short training goes first, to compile. Prints a Markdown table of medians over the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import torch

from a2sg.training.recipe import load_recipe
from a2sg.training.run import train

NEVER = 10**9


def measure(recipe: str, epochs: int, rounds: int, backend: str) -> list[dict[str, Any]]:
    """One row per search and period."""
    cases = [("none", NEVER), *itertools.product(("exact", "grid"), (500, 50, 1))]
    runs: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"neuron.options.backend": backend}
        train(load_recipe(recipe, {"epochs": 1, **chosen}), Path(folder) / "warm-up", quiet=True)
        for turn, (search, every) in itertools.product(range(rounds), cases):
            config = load_recipe(
                recipe,
                {
                    **chosen,
                    "epochs": epochs if every > 1 else max(1, epochs // 9),
                    "windows.every": every,
                    "windows.start": NEVER if search == "none" else 0,
                    "windows.search": "exact" if search == "none" else search,
                },
            )
            out = Path(folder) / f"{search}-{every}-{turn}"
            summary = train(config, out, quiet=True)
            observed = {
                line.partition(",")[0]
                for line in (out / "windows.csv").read_text(encoding="utf-8").splitlines()[1:]
            }
            per_epoch = summary["seconds"] / config.epochs
            runs[search, every].append({**summary, "observed": len(observed), "per_epoch": per_epoch})
            print(
                f"round {turn + 1}/{rounds}  {search:5} every {every:<10} {summary['seconds']:.1f} s",
                flush=True,
            )
    rows = []
    for (search, every), found in runs.items():
        plain = [run["per_epoch"] for run in runs["none", NEVER]]
        seconds = [run["search_seconds"] for run in found]
        rows.append(
            {
                "search": search,
                "every": None if search == "none" else every,
                "observed_iterations": found[0]["observed"],
                "share": statistics.median(run["search_share"] for run in found),
                "ms_per_observed": 1000 * statistics.median(seconds) / max(1, found[0]["observed"]),
                "time_ratio": statistics.median(
                    run["per_epoch"] / base for run, base in zip(found, plain, strict=True)
                ),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| search | every | observed iterations | search, share of training time | ms per observed iteration "
        "| time per epoch, ratio to no search |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['search']} | {row['every'] or '-'} | {row['observed_iterations']} | {row['share']:.2%} "
            f"| {row['ms_per_observed']:.1f} | {row['time_ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="compiled", help="how neurons are computed when not observed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = measure(options.recipe, options.epochs, options.rounds, options.backend)
    machine = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    print(f"\n{machine}, torch {torch.__version__}, {date.today().isoformat()}\n\n{table(rows)}")
    if options.out:
        content = {
            "machine": machine,
            "torch": torch.__version__,
            "date": date.today().isoformat(),
            "rows": rows,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
