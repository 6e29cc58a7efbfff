"""Judge every claim by the stored comparisons and write docs/evidence.md: `make evidence`."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claims import SECTIONS, Claim, Metric

from a2sg.training.files import write_text
from a2sg.training.statistics import BETTER, SAME, WORSE, Difference, mean, paired_difference

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "evidence.md"

INTRODUCTION = HERE / "introduction.md"

HOLDS, FAILS, OPEN = "**holds**", "**does not hold**", "not shown"


@dataclass(frozen=True)
class Stored:
    """A comparison in evidence/runs."""

    name: str
    values: dict[tuple[str, str], dict[int, float]]
    """(metric, arm) -> seed -> value."""
    command: str
    dates: str
    machine: str

    def pair(self, claim: Claim) -> Difference | None:
        """The difference that a claim is about; None where fewer than two pairs of runs are there."""
        metric = claim.metric
        arm, base = (self.values.get((metric.name, label), {}) for label in (claim.arm, claim.baseline))
        seeds = sorted(arm.keys() & base.keys())
        if len(seeds) < 2:
            return None
        view = math.log if metric.relative else float
        return paired_difference([view(arm[seed]) for seed in seeds], [view(base[seed]) for seed in seeds])


def stored() -> list[Stored]:
    """All comparisons, by name."""
    return [_read(folder) for folder in sorted((HERE / "runs").iterdir()) if (folder / "runs.csv").is_file()]


def _read(folder: Path) -> Stored:
    values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
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
    dates = sorted({row["date"] for row in rows})
    return Stored(
        folder.name,
        values,
        (folder / "command.txt").read_text().strip(),
        dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        f"{', '.join(sorted({row['device'] for row in rows}))}, torch {rows[0]['torch']}",
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def judge(claim: Claim, difference: Difference) -> str:
    """The verdict on one data set."""
    if difference.verdict == BETTER:
        return HOLDS if claim.metric.higher else FAILS
    if difference.verdict == WORSE:
        return FAILS if claim.metric.higher else HOLDS
    return OPEN if difference.verdict == SAME else f"{OPEN} ({difference.verdict})"


def told(metric: Metric, difference: Difference) -> str:
    """A difference with its interval, in the metric's own words."""

    def one(value: float) -> str:
        if metric.relative:
            return f"{100 * (math.exp(value) - 1):+.1f}"
        return f"{metric.scale * value:+.2f}"

    unit = " %" if metric.relative else metric.unit
    if difference.low is None or difference.high is None:
        return one(difference.mean) + unit
    return f"{one(difference.mean)} [{one(difference.low)}, {one(difference.high)}]{unit}"


def summary(verdicts: list[str]) -> str:
    """What the data sets say together."""
    holds, fails = verdicts.count(HOLDS), verdicts.count(FAILS)
    if not verdicts:
        return "not measured"
    parts = [f"holds on {holds}"] * (holds > 0) + [f"does not hold on {fails}"] * (fails > 0)
    rest = len(verdicts) - holds - fails
    parts += [f"not shown on {rest}"] * (rest > 0)
    return ", ".join(parts) + f" of {len(verdicts)}"


def page() -> str:
    """docs/evidence.md."""
    comparisons = stored()
    overview = ["| claim | measured by | verdict over the data sets |", "|---|---|---|"]
    details = []
    for section, claims in SECTIONS.items():
        overview.append(f"| *{section}* | | |")
        details.append(f"## {section}\n")
        for claim in claims:
            lines, verdicts = [], []
            for comparison in comparisons:
                difference = comparison.pair(claim)
                if difference is None:
                    continue
                verdict = judge(claim, difference)
                verdicts.append(verdict if verdict in (HOLDS, FAILS) else OPEN)
                cells = (comparison.name, str(difference.pairs), told(claim.metric, difference), verdict)
                lines.append(f"| {' | '.join(cells)} |")
            what = f"`{claim.arm}` - `{claim.baseline}`, {claim.metric.text}"
            overview.append(f"| {claim.text} | {what} | {summary(verdicts)} |")
            details.append(f"### {claim.text}\n\n{what}. {claim.note}".rstrip() + "\n")
            heading = ["| comparison | seeds | difference | verdict |", "|---|---|---|---|"]
            details.append("\n".join([*heading, *lines]) + "\n" if lines else "Not measured yet.\n")
    sources = ["## The comparisons\n"]
    for comparison in comparisons:
        sources.append(
            f"### {comparison.name}\n\n```sh\n{comparison.command}\n```\n\n{comparison.machine}; "
            f"{comparison.dates}. Runs: `evidence/runs/{comparison.name}`.\n"
        )
    return "\n".join([INTRODUCTION.read_text(), "## In one table\n", *overview, "", *details, *sources])


if __name__ == "__main__":
    write_text(PAGE, page())
    print(f"wrote {PAGE}")
