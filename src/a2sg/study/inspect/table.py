"""The results of an inspection as a table: plain text, and in colour for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from a2sg.columns import aligned
from a2sg.errors import one_line
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.inspect.verdict import Level, Verdict
from a2sg.study.measure.diagnosis import LayerDiagnosis, StepDiagnosis
from a2sg.study.measure.gain import Gain
from a2sg.study.measure.variation import estimate
from a2sg.study.text import number, share
from a2sg.terminal import page

HEADERS = {
    "layer": "name of its module",
    "window": "half-width in use",
    "inside": "share of potentials inside the window",
    "gradient": "share of neurons whose δ is not 0",
    "spikes": "spikes per neuron and step",
    "dead": "share of neurons that never fire in this batch",
    "always": "share of neurons that fire in every sample",
    "gain": "norm of the gradient over that of the next spiking layer",
    "law": "rms(f) / std(spikes), the gain to expect where a normalisation follows the weights",
    "SGV": "of δ at step T; the smallest is best; it scales with the gradient",
    "TGC": "of δ at the steps before T; the largest is best",
    "best": "best windows by SGV and TGC, of those tried",
}
"""Columns, and their descriptions."""

MARKS: dict[Level, str] = {"problem": "!", "note": "-", "fine": "+"}
STYLES: dict[Level, str] = {"problem": "red", "note": "yellow", "fine": "green"}
QUESTION = "Is the network all right?"
"""What a reader wants to know first."""
GAP = 2
"""Characters between columns."""
WIDTH = 110
"""Characters per line if the output is not a terminal."""


def rows(found: InspectionData, by_step: bool = False) -> Iterator[list[str]]:
    """The cells under `HEADERS`, a row per layer, or per layer and step."""
    for layer, gain in zip(found.layers.values(), found.gains.layers, strict=True):
        if by_step:
            for step, of_step in zip(layer.steps, gain.steps, strict=True):
                yield _cells(f"{layer.name} t={step.step}", step, of_step, [step])
        else:
            yield _cells(layer.name, layer, gain.whole, layer.steps)


def _cells(
    name: str, whole: LayerDiagnosis | StepDiagnosis, gain: Gain, steps: Sequence[StepDiagnosis]
) -> list[str]:
    """One row of one or more steps: means, and ranges of windows."""
    return [
        one_line(name),
        _span(step.window for step in steps),
        share(estimate(step.inside for step in steps).mean),
        share(estimate(step.passing for step in steps).mean),
        number(estimate(step.firing_rate for step in steps).mean),
        share(whole.dead),
        share(whole.saturated),
        number(gain.gain),
        number(gain.law),
        number(estimate(step.own.sgv for step in steps if step.own.tgc is None).mean),
        number(estimate(step.own.tgc for step in steps).mean),
        _span(step.own.best_window for step in steps),
    ]


def sentences(found: InspectionData) -> Iterator[tuple[str, Verdict]]:
    """Every verdict with its layer, in the order of the layers; those not reached come first."""
    for name, verdicts in found.verdicts.items():
        for verdict in verdicts:
            yield one_line(name), verdict


def plain(found: InspectionData, by_step: bool = False) -> str:
    """The table, the verdicts below it, and at the end whether the network is all right."""
    lines = [list(HEADERS), *rows(found, by_step)]
    verdicts = [f"{MARKS[verdict.level]} {name}: {verdict.text}" for name, verdict in sentences(found)]
    answer = f"{QUESTION} {found.answer}"
    return "\n".join([*aligned(lines), "", one_line(found.gains.sentence), *verdicts, "", answer])


def show(found: InspectionData, by_step: bool = False) -> None:
    """Print what was inspected, the table and the verdicts, in colour where the output is a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = page(WIDTH)
    facts = found.facts
    about = f"{facts['model']}, {facts['batch']}, loss {number(facts['loss'])}"
    console.print(one_line(about), markup=False, highlight=False)
    if "search" in facts:
        console.print(f"windows were never set: {facts['search']}", markup=False, highlight=False)
    console.print()

    lines = list(rows(found, by_step))
    for columns in fitting([list(HEADERS), *lines], console.width):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for at in columns:
            table.add_column(
                list(HEADERS)[at], justify="right" if at else "left", no_wrap=bool(at), overflow="fold"
            )
        for line in lines:
            table.add_row(*(Text(line[at]) for at in columns))
        console.print(table)
        console.print()
    console.print(one_line(found.gains.sentence), markup=False, highlight=False)
    for layer, verdict in sentences(found):
        style = f"bold {STYLES[verdict.level]}"
        console.print(Text.assemble((f"{MARKS[verdict.level]} {layer}: ", style), verdict.text))
    console.print()
    console.print(Text.assemble((f"{QUESTION} ", "bold"), found.answer))


def fitting(lines: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Columns that fit side by side, group by group; each group begins with the first column.

    Args:
        lines: cells, including the headers.
        width: of the terminal, in characters.
    """
    first, *others = (max(map(len, column)) + GAP for column in zip(*lines, strict=True))
    groups: list[list[int]] = [[0]]
    room = width - first
    for at, needed in enumerate(others, start=1):
        if needed > room and len(groups[-1]) > 1:
            groups.append([0])
            room = width - first
        groups[-1].append(at)
        room -= needed
    return groups


def _span(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = f"{min(known):.2f}", f"{max(known):.2f}"
    return low if low == high else f"{low}-{high}"
