"""What a profile shows: shares, a verdict in words, tables, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from a2sg.allowance import share_of_cores
from a2sg.colours import COLOURS, GREY
from a2sg.files import whole
from a2sg.statistics import mean
from a2sg.terminal import page
from a2sg.training.config import RunConfig
from a2sg.training.kinds import PYTHON
from a2sg.training.phases import AUGMENTATION, OPTIMIZER, OTHER, SEARCH, SUMS, TRANSFER, WAITING
from a2sg.training.tables import WIDTH

Row = dict[str, Any]


def shares(
    ordinary: Sequence[Mapping[str, float]],
    observed: Sequence[Mapping[str, float]],
    every: float,
    names: Sequence[str] = (),
) -> list[Row]:
    """Mean milliseconds of an ordinary and of an observed iteration, by name, and the share of a whole run.

    Args:
        ordinary: seconds by name, for each ordinary iteration; at least one.
        observed: likewise; at least one.
        every: iterations of a run per observed one.
        names: rows that always exist, and come first.
    """
    found = dict.fromkeys([*names, *(name for each in [*ordinary, *observed] for name in each)])
    rows: list[Row] = []
    for name in found:
        usual, watched = (
            1000 * mean([each.get(name, 0.0) for each in group]) for group in (ordinary, observed)
        )
        mixed = usual + (watched - usual) / every
        rows.append({"name": name, "share": mixed, "ordinary_ms": usual, "observed_ms": watched})
    total = sum(row["share"] for row in rows)
    for row in rows:
        row["share"] /= total
    return rows


def verdict(config: RunConfig, workers: int, phases: Mapping[str, float], kinds: Mapping[str, float]) -> str:
    """What stands out, and what to do about it; or that nothing does.

    Args:
        config: the run.
        workers: how many processes its loader has.
        phases: share by phase.
        kinds: share by kind of work.
    """
    larger = f"raise data.batch_size (now {config.data.batch_size})"
    available = share_of_cores()
    loader = f"raise data.workers (now {workers})"
    if workers >= available:
        loader = f"data.workers is {workers} on {available} cores already, so make samples cheaper to read"
    rarer = f"raise windows.every (now {config.windows.every})"
    if config.windows.search != "exact":
        rarer = f"set windows.search to exact (now {config.windows.search})"
    # Share of the time, the share from which it stands out, and what to say.
    suspects = [
        (phases[WAITING], 0.15, f"waiting for data: {loader}"),
        (phases[AUGMENTATION], 0.15, "augmentation, on the device: leave out what the run can do without"),
        (phases[TRANSFER], 0.10, "moving data to the device: keep images in uint8 until they are there"),
        (phases[OPTIMIZER], 0.20, f"the optimizer, which costs the same for any batch: {larger}"),
        (phases[SUMS] + phases[SEARCH], 0.10, f"the search of windows: {rarer}"),
        (phases[OTHER], 0.15, f"Lightning and metrics, which cost the same for any batch: {larger}"),
        (kinds.get(PYTHON, 0.0), 0.25, f"Python between operations too small to hide it: {larger}"),
    ]
    share, limit, text = max(suspects, key=lambda suspect: suspect[0] / suspect[1])
    if share >= limit:
        return f"{_percent(share)} of the time goes to {text}"
    largest = max(kinds, key=lambda name: kinds[name])
    return f"nothing sticks out; the largest part is {largest}, {_percent(kinds[largest])}"


def table_rows(content: Mapping[str, Any]) -> list[Row]:
    """Phases and kinds of work as rows of one table; None if there is no number."""
    return [
        {"table": table, "ordinary_calls": None, "observed_calls": None, **row}
        for table, key in (("phase", "phases"), ("kind", "kinds"))
        for row in content[key]
    ]


def print_profile(content: Mapping[str, Any]) -> None:
    """Print a profile to standard output."""
    console = page(WIDTH)
    counts, every = content["iterations"], content["observed_every"]
    title = f"Phases of {content['recipe']}, from {counts['timed']} iterations, {counts['observed']} observed"
    _print_table(console, title, "phase", content["phases"])
    title = f"Kinds of work, from {counts['traced']} recorded iterations, which recording slows down"
    _print_table(console, title, "kind of work", content["kinds"], calls=True)
    console.print()
    batch, neurons, steps = content["images_per_iteration"], content["neurons"], content["steps"]
    for line in (
        f"Shares are those of a run in which one iteration in {every:g} is observed. An observed one takes "
        f"{content['observed_to_ordinary']:.2f} times as long as an ordinary one.",
        f"{content['images_per_second']:,.1f} images a second; T · B · neurons = {steps} · {batch:,.4g} · "
        f"{neurons:,.0f} = {content['neuron_updates_per_iteration']:,.0f} an iteration.",
    ):
        console.print(line, markup=False, highlight=False)
    console.print(content["verdict"], style="bold", markup=False, highlight=False)


def picture(content: Mapping[str, Any], path: Path) -> Path:
    """Draw an ordinary and an observed iteration as bars of their phases and of their kinds of work.

    Args:
        content: of `profile.json`.
        path: of the PNG, which is written completely or not at all.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.4), dpi=150, layout="constrained")
    for axes, key, title in zip(
        figure.subplots(2, 1),
        ("phases", "kinds"),
        ("phases", "kinds of work, recorded (which takes longer)"),
        strict=True,
    ):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
        starts = [0.0, 0.0]
        for row, colour in _largest(content[key]):
            widths = [row["ordinary_ms"], row["observed_ms"]]
            label = f"{row['name']} {_percent(row['share'])}"
            axes.barh(["ordinary", "observed"], widths, left=starts, color=colour, label=label, height=0.7)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ms per iteration")
        axes.set_title(title, fontsize=10)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    figure.suptitle(f"Where the time of {content['recipe']} goes: {content['device']}")
    with whole(path) as part:
        figure.savefig(part, format="png")
    return path


def _print_table(
    console: Console, title: str, first: str, rows: Sequence[Row], *, calls: bool = False
) -> None:
    table = Table(padding=(0, 1, 0, 0))
    table.box, table.show_edge = box.SIMPLE_HEAD, False
    table.add_column(first)
    columns = [("share\n%", "share", 100, ".1f")]
    for name in ("ordinary", "observed"):
        columns.append((f"{name}\nms", f"{name}_ms", 1, ",.2f"))
        if calls:
            columns.append((f"{name}\ncalls", f"{name}_calls", 1, ",.0f"))
    for header, *_ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], *(f"{scale * row[key]:{form}}" for _, key, scale, form in columns))
    table.add_section()
    whole = {key: sum(row[key] for row in rows) for _, key, *_ in columns}
    cells = (
        "" if key.endswith("calls") else f"{scale * whole[key]:{form}}" for _, key, scale, form in columns
    )
    table.add_row("iteration", *cells)
    console.print()
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(table)


def _largest(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """The largest rows, as many as there are colours, in order, and the rest as one grey row."""
    kept = sorted(rows, key=lambda row: -row["share"])[: len(COLOURS)]
    rest = [row for row in rows if row not in kept]
    found = list(zip([row for row in rows if row in kept], COLOURS, strict=False))
    if rest:
        numbers = ("share", "ordinary_ms", "observed_ms")
        found.append(({"name": "rest", **{key: sum(row[key] for row in rest) for key in numbers}}, GREY))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
