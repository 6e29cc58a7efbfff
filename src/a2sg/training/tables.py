"""Tables: results in the terminal, in Markdown, and as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from a2sg.errors import one_line
from a2sg.score import SCORES, Score, score_in
from a2sg.statistics import BETTER, WORSE, Difference, bonferroni, deviation, mean, paired_difference
from a2sg.terminal import page

HEADERS = (
    ("arm", "arm"),
    ("{score}\n%", "{score} %"),
    ("difference\npoints", "difference, points"),
    ("verdict", "verdict"),
    ("spikes\n/sample", "spikes/sample"),
    ("energy\nnJ", "energy estimate, nJ/sample"),
    ("train\ns", "training s"),
    ("search\n%", "search, % of training"),
)
"""Column headers, short for the terminal and in full; {score} is the name of the runs' score."""
STYLES = {BETTER: "green", WORSE: "red"}
WIDTH = 100
"""Characters per line of a table if the output is not a terminal."""


@dataclass(frozen=True)
class ArmResult:
    """The results of one arm's runs.

    Attributes:
        arm: its label.
        runs: the summaries of its runs, in the order of the seeds.
        difference: score minus that of the baseline, in points; None for the baseline itself.
    """

    arm: str
    runs: Sequence[Mapping[str, Any]]
    difference: Difference | None

    @property
    def score(self) -> Score:
        """The name of the runs' score."""
        return score_in(self.runs[0])

    @property
    def scores(self) -> list[float]:
        """Score of each run in percent."""
        return _scores(self.runs)

    @property
    def verdict(self) -> str:
        """The verdict on the difference, or "baseline"."""
        return "baseline" if self.difference is None else self.difference.verdict

    def average(self, field: str) -> float:
        """The mean of a number of the summaries."""
        return mean([run[field] for run in self.runs])


def arm_results(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], level: float = 0.95, corrected: bool = False
) -> list[ArmResult]:
    """Compare every arm with the first, in pairs.

    Args:
        runs: arm to the summaries of its runs, for every arm in the same order of seeds.
        level: confidence of the intervals.
        corrected: whether `level` holds for all intervals together (Bonferroni), not for each alone.
    """
    labels = list(runs)
    baseline = _scores(runs[labels[0]])
    comparisons = max(1, len(labels) - 1) if corrected else 1
    return [
        ArmResult(
            arm,
            runs[arm],
            None if at == 0 else paired_difference(_scores(runs[arm]), baseline, level, comparisons),
        )
        for at, arm in enumerate(labels)
    ]


def notes(results: Sequence[ArmResult], level: float = 0.95, corrected: bool = False) -> list[str]:
    """Notes that a reader of the table needs: pairs, intervals, comparisons, what numbers omit."""
    return [*_on_differences(results, level, corrected), *_on_energy(results), *_on_search(results)]


def _on_energy(results: Sequence[ArmResult]) -> list[str]:
    left_out = uncounted([summary for result in results for summary in result.runs])
    return [f"The energy leaves out {left_out}."] if left_out else []


def _on_search(results: Sequence[ArmResult]) -> list[str]:
    runs = [run for result in results for run in result.runs if run.get("search_share")]
    if all(str(run.get("device", "cpu")).startswith("cpu") for run in runs):
        return []
    return ["The share of the search leaves out sums that CUDA graphs repeat; a2sg bench times all of it."]


def uncounted(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What the energy of the runs omits, in words; empty if it counts everything."""
    named = dict.fromkeys(one for run in summaries for one in run.get("energy_uncounted", []))
    return one_line(", ".join(named))


def _on_differences(results: Sequence[ArmResult], level: float, corrected: bool) -> list[str]:
    baseline, *others = results
    pairs, count = len(baseline.runs), len(others)
    if not others:
        return []
    if pairs == 1:
        return [f"Differences from {baseline.arm}, of one seed: give several seeds to see what is chance."]
    text = f"Differences from {baseline.arm}, paired over {pairs} seeds, with Student-t intervals of"
    if count == 1:
        return [f"{text} {_percent(level)}."]
    each = _percent(bonferroni(level, count))
    if corrected:
        return [f"{text} {_percent(level)} for all {count} together ({each} each, Bonferroni)."]
    narrow = arm_results({result.arm: result.runs for result in results}, level, corrected=True)
    still = [result.arm for result in narrow if result.verdict in (BETTER, WORSE)]
    return [
        f"{text} {_percent(level)} each. These are {count} comparisons, so chance has {count} tries: at "
        f"{each} each (Bonferroni) a difference is shown for {', '.join(still) or 'none'}."
    ]


def cells(result: ArmResult) -> list[str]:
    """One row of the table under `HEADERS`."""
    return [
        result.arm,
        _spread(result.scores),
        _difference(result.difference),
        result.verdict,
        f"{result.average('spikes_per_sample'):,.0f}",
        f"{result.average('energy_nj_per_sample'):,.1f}",
        f"{result.average('seconds'):,.1f}",
        f"{100 * result.average('search_share'):.1f}",
    ]


def terminal_table(results: Sequence[ArmResult], title: str) -> Table:
    """The table for `rich`: 100 columns wide at most, with the arms' options below their names."""
    table = Table(title=Text(one_line(title)), title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    table.box, table.show_edge = box.SIMPLE_HEAD, False
    for at, (header, _) in enumerate(HEADERS):
        # Score, difference and verdict give way where the terminal is narrow.
        header = header.format(score=results[0].score.text)
        table.add_column(header, justify="left" if at in (0, 3) else "right", no_wrap=at not in (1, 2, 3))
    for result in results:
        style = STYLES.get(result.verdict, "")
        arm, score, difference, verdict, *rest = cells(result)
        table.add_row(Text(one_line(arm).replace(":", "\n ")), score, difference, Text(verdict, style), *rest)
    return table


def markdown_table(results: Sequence[ArmResult], title: str, remarks: Sequence[str]) -> str:
    """The table as a Markdown page; rows also have the number of seeds."""
    heads = ["arm", "seeds", *(full.format(score=results[0].score.text) for _, full in HEADERS[1:])]
    lines = [heads, ["---"] * len(heads)]
    for result in results:
        arm, *rest = cells(result)
        lines.append([arm, str(len(result.runs)), *rest])
    table = "\n".join(f"| {' | '.join(map(_in_markdown, line))} |" for line in lines)
    return "\n\n".join([f"# {_in_markdown(title)}", table, *map(_in_markdown, remarks)]) + "\n"


def _in_markdown(text: str) -> str:
    """Text escaped so that it cannot end a cell or begin a tag."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")


def table_rows(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """One row per arm, plain numbers; None where there is no number."""
    rows = []
    for result in results:
        difference = result.difference
        rows.append(
            {
                "arm": result.arm,
                "seeds": len(result.runs),
                f"{result.score.name}_percent": mean(result.scores),
                f"{result.score.name}_sd": deviation(result.scores),
                "difference_points": difference.mean if difference else None,
                "difference_low": difference.low if difference else None,
                "difference_high": difference.high if difference else None,
                "level": difference.level if difference else None,
                "verdict": result.verdict,
                "spikes_per_sample": result.average("spikes_per_sample"),
                "energy_nj_per_sample": result.average("energy_nj_per_sample"),
                "seconds": result.average("seconds"),
                "search_share_percent": 100 * result.average("search_share"),
            }
        )
    return rows


def print_table(results: Sequence[ArmResult], title: str, remarks: Sequence[str]) -> None:
    """Print the table and its notes to standard output."""
    console = page(WIDTH)
    console.print()
    console.print(terminal_table(results, title))
    console.print()
    for remark in remarks:
        console.print(one_line(remark), markup=False, highlight=False)


def print_over_steps(found: Mapping[str, Any]) -> None:
    """Print the results of `a2sg.training.over_steps`: a row for each T."""
    rows, trained = found["steps"], found["trained_steps"]
    score = score_in(rows[0])
    table = Table(padding=(0, 1, 0, 0), box=box.SIMPLE_HEAD, show_edge=False)
    for header in ("T", f"{score.text} %", "loss", "spikes/sample", "energy nJ/sample"):
        table.add_column(header, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            str(row["steps"]),
            f"{100 * row[score.name]:.2f}",
            f"{row['loss']:.4f}",
            f"{row['spikes_per_sample']:,.0f}",
            f"{row['energy_nj_per_sample']:,.1f}",
            "trained with this T" if row["steps"] == trained else "",
        )
    page(WIDTH).print(table)
    if left_out := uncounted(rows):
        print(f"The energy leaves out {left_out}.")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the results of a run or an evaluation; values missing in a summary are skipped."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    for label, field, scale, form, unit in (
        *((f"test {score.text}", score.name, 100, ".2f", "%") for score in SCORES.values()),
        ("test loss", "loss", 1, ".4f", ""),
        ("spikes per sample", "spikes_per_sample", 1, ",.0f", ""),
        ("energy per sample", "energy_nj_per_sample", 1, ",.1f", "nJ (estimate)"),
        ("training", "seconds", 1, ",.1f", "s"),
        ("window search", "search_seconds", 1, ",.2f", "s"),
        ("its share", "search_share", 100, ".2f", "% of training"),
    ):
        if field in summary:
            table.add_row(label, f"{scale * summary[field]:{form}}", unit)
    page(WIDTH).print(table)
    if left_out := uncounted([summary]):
        print(f"The energy leaves out {left_out}.")


def _scores(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [100 * run[score_in(run).name] for run in runs]


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def _spread(values: Sequence[float]) -> str:
    spread = deviation(values)
    return f"{mean(values):.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    text = f"{difference.mean:+z.2f}"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{difference.low:+z.2f}, {difference.high:+z.2f}]"
