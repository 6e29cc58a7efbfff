"""The results of a bench: JSON for programs, a Markdown table and a picture for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from a2sg._version import __version__
from a2sg.allowance import cores
from a2sg.bench.options import Options
from a2sg.colours import COLOURS, GREY
from a2sg.files import whole, write_json, write_text
from a2sg.info import processor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        key: of the rows.
        header: its title.
        form: format of a number; None and missing values are left empty.
    """

    key: str
    header: str
    form: str = ""


@dataclass(frozen=True)
class Report:
    """The results of a bench.

    Attributes:
        title: one line.
        columns: of the table, in order.
        rows: one dict per measurement, plain data.
        notes: for the reader, a sentence or two each.
        figure: the picture.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    figure: Figure


def machine(device: str) -> dict[str, Any]:
    """The class of machine and the versions for which the numbers hold."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {
        "device": device,
        "machine": name,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "a2sg": __version__,
        "python": platform.python_version(),
        "date": date.today().isoformat(),
    }


def write(name: str, report: Report, options: Options, facts: Mapping[str, Any], out: Path) -> None:
    """Write NAME.json, NAME.md and NAME.png into `out`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "bench": name,
        "title": report.title,
        **facts,
        "options": asdict(options),
        "notes": list(report.notes),
        "rows": list(report.rows),
    }
    write_json(out / f"{name}.json", content)
    parts = [f"# {report.title}", table(report), *report.notes, provenance(facts)]
    write_text(out / f"{name}.md", "\n\n".join(parts) + "\n")
    with whole(out / f"{name}.png") as part:
        report.figure.savefig(part, format="png")


def table(report: Report) -> str:
    """The rows of a report as a Markdown table."""
    return markdown(report.columns, report.rows)


def markdown(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [[column.header for column in columns], ["---"] * len(columns)]
    lines += [[_cell(row.get(column.key), column.form) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def provenance(facts: Mapping[str, Any]) -> str:
    """Machine, date and versions of the measurement."""
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items()) or "no other library"
    return (
        f"{facts['machine']}, {facts['cores']} cores, {facts['threads']} threads, torch {facts['torch']}, "
        f"a2sg {facts['a2sg']}, beside {peers}; {facts['date']}."
    )


def bars(
    panels: Mapping[str, Mapping[str, float]], label: str, limits: Mapping[str, float] | None = None
) -> Figure:
    """Horizontal bars, a panel for each size.

    Args:
        panels: values by the names of bars, by the title of the panel.
        label: of the values.
        limits: a dotted line in a panel, such as what the memory's bandwidth allows.
    """
    longest = max(len(values) for values in panels.values())
    figure, axes = _figure(len(panels), 1.2 + 0.32 * longest, sharey=True)
    for panel, (title, values) in zip(axes, panels.items(), strict=True):
        panel.barh(list(values), list(values.values()), color=[_colour(name) for name in values])
        for at, value in enumerate(values.values()):
            panel.annotate(f" {value:.3g}", (value, at), va="center", fontsize=8)
        panel.margins(x=0.18)
        if limits and title in limits:
            panel.axvline(limits[title], color=GREY, linestyle=":", linewidth=1.2)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(label)
        panel.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return figure


def lines(series: Mapping[str, Mapping[int, float]], across: str, up: str) -> Figure:
    """A line for each name, from 0."""
    figure, axes = _figure(1, 3.6)
    for number, (name, values) in enumerate(series.items()):
        axes[0].plot(
            list(values), list(values.values()), "o-", label=name, color=COLOURS[number % len(COLOURS)]
        )
    axes[0].set_ylim(bottom=0)
    axes[0].set_xticks(sorted({x for values in series.values() for x in values}))
    axes[0].set_xlabel(across)
    axes[0].set_ylabel(up)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _figure(panels: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 3.4 * panels, height), dpi=150, layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False, **options)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#E0E0E0", linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, axes


def _colour(name: str) -> str:
    return COLOURS[0] if name.startswith("a2sg") else GREY


def _cell(value: Any, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
