"""The results of a part of an analysis: panels, each a picture with its data and how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from a2sg.study.measure.variation import Estimate
from a2sg.study.text import number, with_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
"""Plain numbers and words by column."""


@dataclass(frozen=True)
class Table:
    """Headers and cells, as they are shown."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Panel:
    """A picture, its data, and what it shows.

    Attributes:
        name: of its files: NAME.svg, NAME.png, NAME.csv.
        title: above it.
        shows: what it shows.
        limits: what it cannot show.
        rows: its data, all with the same columns.
        draw: draws the picture.
        tables: below the picture.
    """

    name: str
    title: str
    shows: str
    limits: str
    rows: Sequence[Row]
    draw: Callable[[], Figure]
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Section:
    """A part of an analysis.

    Attributes:
        title: above it.
        panels: in order.
        notes: what was skipped, and why.
        found: the results of the functions of `a2sg.analysis`, records or plain data, by function name.
        glance: one number per run, by its description: for the table at the top of the page.
    """

    title: str
    panels: Sequence[Panel]
    notes: Sequence[str]
    found: Mapping[str, Any]
    glance: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class AnalysisData:
    """The data of an `Analysis`, which describes them."""

    facts: Mapping[str, Any]
    sections: Mapping[str, Section]

    @property
    def labels(self) -> list[str]:
        """Names of the runs."""
        return [run["label"] for run in self.facts["runs"]]

    def glance(self) -> dict[str, dict[str, float | None]]:
        """A few numbers of each part, by description and run."""
        return {
            what: dict(values)
            for section in self.sections.values()
            for what, values in section.glance.items()
        }

    def glance_lines(self) -> list[list[str]]:
        """The glance as cells, a line for each number."""
        return [
            [what, *(glanced(values.get(label)) for label in self.labels)]
            for what, values in self.glance().items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data, as in `analysis.json`; infinity and NaN become None."""
        return plain(
            {
                **self.facts,
                "glance": self.glance(),
                "parts": {
                    name: {"found": section.found, "notes": list(section.notes)}
                    for name, section in self.sections.items()
                },
            }
        )


def panel(
    name: str,
    rows: Sequence[Row],
    picture: Callable[..., Figure],
    *more: Any,
    tables: Sequence[Table] = (),
    **values: Any,
) -> Panel:
    """A panel whose text is the docstring of its picture: title, what it shows, what it cannot show.

    Args:
        name: of the files.
        rows: its data.
        picture: draws it, from the rows and `more`.
        *more: further arguments of `picture`.
        tables: below the picture.
        **values: for the names in braces in the docstring.
    """
    title, shows, limits = name, "", ""
    if picture.__doc__:  # python -OO removes it
        words = cleandoc(picture.__doc__).format(**values).split("\n\n")
        title, shows, limits = (" ".join(paragraph.split()) for paragraph in words)
    return Panel(name, title, shows, limits, rows, partial(picture, rows, *more), tables)


def rows_of(found: Mapping[str, Iterable[Any]], names: str = "") -> list[Row]:
    """A row for each record of each run, with all fields or those named; an estimate also has its error.

    With `column=field`, the column's name differs from the field's.
    """
    rows = []
    for label, records in found.items():
        for record in records:
            row: Row = {"run": label}
            for name in names.split() or [one.name for one in fields(record)]:
                name, _, other = name.partition("=")
                value = getattr(record, other or name)
                estimated = isinstance(value, Estimate)
                row |= {name: value.mean, f"{name}_error": value.error} if estimated else {name: value}
            rows.append(row)
    return rows


def tabled(rows: Iterable[Row], columns: Mapping[str, str]) -> Table:
    """Some columns of rows, with headers; a column with ± is followed by its error."""

    def cell(row: Row, column: str) -> str:
        if isinstance(value := row[column.rstrip("±")], str):
            return value
        return with_error(value, row[f"{column[:-1]}_error"]) if column[-1] == "±" else number(value)

    return Table(tuple(columns), [[cell(row, column) for column in columns.values()] for row in rows])


def glanced(value: float | None) -> str:
    """A number as the glance shows it."""
    return f"{value:,.0f}" if value is not None and 1e3 <= abs(value) < 1e6 else number(value)


def plain(value: Any) -> Any:
    """Records and data as JSON can hold them: numbers that are not finite become None, keys become text."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
