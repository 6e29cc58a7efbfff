"""The comparisons in evidence/runs, as numbers by arm and seed."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from a2sg.statistics import mean

RUNS = Path(__file__).parent / "runs"

Values = dict[tuple[str, str], dict[int, float]]
"""(metric, arm) -> seed -> value."""

FAMILIES = {name: f"{name}:window=" for name in ("asy", "asy:bias=0.8", "fixed")}
"""Arms of one shape with fixed windows: the one as it is, and how those of other widths begin."""
WIDTHS = 3
"""Of how many a family has to be for the best to be sought."""


@dataclass(frozen=True)
class Stored:
    """A comparison in evidence/runs.

    Attributes:
        name: of its folder. What is before the last hyphen says which data, what is behind it the question.
        values: of its runs, and of the best of a family of fixed windows as arm `NAME:window=best`.
        gains: rows of gains.csv.
        command: repeats it.
        dates: when its runs ended.
        machine: on what.
        minutes: how long all of its runs trained, one after the other.
    """

    name: str
    values: Values
    gains: list[dict[str, str]]
    command: str
    dates: str
    machine: str
    minutes: float = 0.0

    @property
    def question(self) -> str:
        """What is behind the last hyphen of the name: `arms` of the main comparisons."""
        return self.name.rpartition("-")[2]


def stored() -> list[Stored]:
    """All comparisons, by name."""
    return [_read(folder) for folder in sorted(RUNS.iterdir()) if (folder / "runs.csv").is_file()]


def _read(folder: Path) -> Stored:
    values: Values = defaultdict(dict)
    rows = list(_rows(folder / "runs.csv"))
    for row in rows:
        score = row["accuracy"] or row["miou"]
        for name, cell in (*row.items(), ("score", score)):
            if name in ("score", "spikes_per_sample", "energy_nj_per_sample"):
                values[name, row["arm"]][int(row["seed"])] = float(cell)
    history: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in _rows(folder / "flatness.csv"):
        for name in ("gauss_newton", "sharpness"):
            values[name, row["arm"]][int(row["seed"])] = float(row[name])
    for row in _rows(folder / "variation.csv"):
        for name in ("sgv", "tgc"):
            if row[name]:
                history[name, row["arm"], int(row["seed"])].append(float(row[name]))
    for (name, arm, seed), series in history.items():
        values[name, arm][seed] = (
            math.exp(mean([math.log(value) for value in series])) if name == "sgv" else mean(series)
        )
    values |= best_windows(values)
    dates = sorted({row["date"] for row in rows})
    return Stored(
        folder.name,
        values,
        list(_rows(folder / "gains.csv")),
        (folder / "command.txt").read_text(encoding="utf-8").strip(),
        dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        f"{', '.join(sorted({row['device'] for row in rows}))}, torch {rows[0]['torch']}",
        sum(float(row["seconds"]) for row in rows) / 60,
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def best_windows(values: Mapping[tuple[str, str], Mapping[int, float]]) -> Values:
    """The best fixed window of each family, chosen for every seed by the scores of the other seeds.

    So no seed has a say in what it is judged by, and the best is not the luckiest.
    """
    found: Values = {}
    for name, prefix in FAMILIES.items():
        arms = [
            arm
            for metric, arm in values
            if metric == "score" and (arm == name or _is_width(arm, prefix)) and len(values[metric, arm]) > 1
        ]
        if len(arms) < WIDTHS:
            continue
        seeds = set.intersection(*(set(values["score", arm]) for arm in arms))
        if len(seeds) < 2:
            continue
        best: dict[int, float] = {}
        for seed in sorted(seeds):
            others = [other for other in seeds if other != seed]
            chosen = max(arms, key=lambda arm: mean([values["score", arm][other] for other in others]))
            best[seed] = values["score", chosen][seed]
        found["score", f"{name}:window=best"] = best
    return found


def _is_width(arm: str, prefix: str) -> bool:
    """Whether an arm sets the window and nothing else."""
    return arm.startswith(prefix) and ":" not in arm.removeprefix(prefix)
