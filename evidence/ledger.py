"""Judge every claim by the stored comparisons and write docs/evidence.md: run as `make evidence`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import claims
import deep_claims
from a2sg.files import write_text
from a2sg.statistics import BETTER, SAME, WORSE, Difference, deviation, mean, paired_difference
from claims import Claim, Metric
from stored import Stored, stored

SECTIONS = claims.SECTIONS | deep_claims.SECTIONS
FIRST = (
    "A2SG is more accurate than the usual surrogate (boxcar, window 0.5)",
    "Adaptation helps over a good fixed window of the same shape (h 0.5)",
    "Adaptation recovers from a starting window that is too narrow",
    "The asymmetric shape by itself beats the boxcar",
    "A2SG ends in a flatter minimum",
    "A2SG needs less energy",
    "A2SG helps over the same shape fixed (18 convolutions)",
    "Windows searched once, with h 0.8, help over a window of 1 and h 0.5 (18 convolutions)",
    "Windows searched once, with h 0.8, help over a window of 1 and h 0.5 (19 layers, membrane shortcuts)",
)
"""Claims that most readers come for: the page begins with them."""
HEADING = ["| claim | measured by | verdict over the data sets | pairs in favour |", "|---|---|---|---|"]

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "evidence.md"

INTRODUCTION = HERE / "introduction.md"
GAINS = HERE / "gains.md"
GAIN_COLUMNS = ("window", "window_spread", "promised", "same", "other")

HOLDS, FAILS, OPEN = "**holds**", "**does not hold**", "not shown"


def pairs(comparison: Stored, claim: Claim) -> tuple[list[float], list[float]]:
    """Values of arm and baseline by seed, logarithms of them if the metric is relative.

    Both are empty if the comparison is about another question.
    """
    if comparison.question != claim.question:
        return [], []
    metric = claim.metric
    arm, base = (comparison.values.get((metric.name, label), {}) for label in (claim.arm, claim.baseline))
    seeds = sorted(arm.keys() & base.keys())
    view = math.log if metric.relative else float
    return [view(arm[seed]) for seed in seeds], [view(base[seed]) for seed in seeds]


def won(claim: Claim, arm: Sequence[float], base: Sequence[float]) -> int:
    """The number of pairs in favour of the claim."""
    sign = 1 if claim.metric.higher else -1
    return sum(sign * a > sign * b for a, b in zip(arm, base, strict=True))


def judge(claim: Claim, difference: Difference) -> str:
    """The verdict of one comparison."""
    if difference.verdict == BETTER:
        return HOLDS if claim.metric.higher else FAILS
    if difference.verdict == WORSE:
        return FAILS if claim.metric.higher else HOLDS
    return OPEN if difference.verdict == SAME else f"{OPEN} ({difference.verdict})"


def written(metric: Metric, difference: Difference) -> str:
    """A difference with its interval, in the unit of the metric."""

    def one(value: float) -> str:
        if metric.relative:
            return f"{100 * (math.exp(value) - 1):+.1f}"
        return f"{metric.scale * value:+.2f}"

    unit = " %" if metric.relative else metric.unit
    if difference.low is None or difference.high is None:
        return one(difference.mean) + unit
    return f"{one(difference.mean)} [{one(difference.low)}, {one(difference.high)}]{unit}"


def summary(verdicts: list[str]) -> str:
    """How many data sets gave each verdict."""
    holds, fails = verdicts.count(HOLDS), verdicts.count(FAILS)
    if not verdicts:
        return "not measured"
    parts = [f"holds on {holds}"] * (holds > 0) + [f"does not hold on {fails}"] * (fails > 0)
    rest = len(verdicts) - holds - fails
    parts += [f"not shown on {rest}"] * (rest > 0)
    return ", ".join(parts) + f" of {len(verdicts)}"


def gains(comparisons: Sequence[Stored]) -> list[str]:
    """What searches promise and how much of it is kept, as lines of the page."""
    lines = [GAINS.read_text(encoding="utf-8")]
    for comparison in comparisons:
        if not comparison.gains:
            continue
        lines += [
            f"### {comparison.name}: searches\n",
            "| trained as | search | improvement | windows found | promised "
            "| kept on the batch | kept on the next |",
            "|---|---|---|---|---|---|---|",
        ]
        keys = dict.fromkeys((row["arm"], row["search"], row["objective"]) for row in comparison.gains)
        for arm, search, objective in keys:
            rows = [
                row
                for row in comparison.gains
                if (row["arm"], row["search"], row["objective"]) == (arm, search, objective)
            ]
            text = "fall of ln SGV" if objective == "sgv" else "rise of TGC"
            columns = [[float(row[name]) for row in rows if row[name]] for name in GAIN_COLUMNS]
            window, spread, *parts = columns
            found = f"{mean(window):.2f} ± {mean(spread):.2f}" if window and spread else ""
            cells = [f"{mean(part):+.3f}{_error(part)}" if part else "" for part in parts]
            lines.append(f"| `{arm}` | {search} | {text} | {found} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _error(values: Sequence[float]) -> str:
    spread = deviation(values)
    return "" if spread is None else f" ± {spread:.3f}"


def page() -> str:
    """docs/evidence.md."""
    comparisons = stored()
    overview = list(HEADING)
    first: dict[str, str] = {}
    details = []
    for section, asked in SECTIONS.items():
        overview.append(f"| *{section}* | | | |")
        details.append(f"## {section}\n")
        for claim in asked:
            lines, verdicts = [], []
            right = total = 0
            for comparison in comparisons:
                arm, base = pairs(comparison, claim)
                if len(arm) < 2:
                    continue
                difference = paired_difference(arm, base)
                right += won(claim, arm, base)
                total += len(arm)
                verdict = judge(claim, difference)
                verdicts.append(verdict if verdict in (HOLDS, FAILS) else OPEN)
                cells = (comparison.name, str(difference.pairs), written(claim.metric, difference), verdict)
                lines.append(f"| {' | '.join(cells)} |")
            what = f"`{claim.arm}` - `{claim.baseline}`, {claim.metric.text}"
            overview.append(f"| {claim.text} | {what} | {summary(verdicts)} | {right} of {total} |")
            if claim.text in FIRST:
                first[claim.text] = overview[-1]
            details.append(f"### {claim.text}\n\n{what}. {claim.note}".rstrip() + "\n")
            heading = ["| comparison | seeds | difference | verdict |", "|---|---|---|---|"]
            details.append("\n".join([*heading, *lines]) + "\n" if lines else "Not measured yet.\n")
    sources = ["## The comparisons\n"]
    for comparison in comparisons:
        sources.append(
            f"### {comparison.name}\n\n```sh\n{comparison.command}\n```\n\n{comparison.machine}; "
            f"{comparison.dates}. Training took {comparison.minutes:.0f} min in all. "
            f"Runs: `evidence/runs/{comparison.name}`.\n"
        )
    parts = [
        INTRODUCTION.read_text(encoding="utf-8"),
        "## In short\n",
        *HEADING,
        *(first[text] for text in FIRST),
        "\n## In one table\n",
        *overview,
        "",
        *details,
        *gains(comparisons),
        *sources,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    write_text(PAGE, page())
    print(f"wrote {PAGE}")
