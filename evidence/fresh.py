"""Measurements of networks with fresh weights: every case with every seed, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from a2sg.progress import progress

Row = dict[str, Any]
"""What distinguishes a case, its seed, and its numbers."""


def run(
    about: str | None,
    cases: Sequence[Mapping[str, Any]],
    measured: Callable[..., Mapping[str, float]],
    table: Callable[[Sequence[Row]], str],
) -> None:
    """Measure, print the table, and write what was asked for on the command line.

    Args:
        about: text of `--help`.
        cases: arguments of `measured`, but for the seed.
        measured: the numbers of a case with a `seed`.
        table: Markdown of all rows.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, help="every number, as JSON")
    options = parser.parse_args()
    every = [{**case, "seed": seed} for case in cases for seed in map(int, options.seeds.split(","))]
    rows = [{**case, **measured(**case)} for case in progress(every, "gains", len(every))]
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))
