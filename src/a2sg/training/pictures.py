"""Pictures of runs, drawn only from the files in their folders."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2sg.colours import COLOURS, GREY, LAYERS, drawn_name
from a2sg.errors import InputError, many, told
from a2sg.files import read_json, read_rows, read_searches, whole
from a2sg.score import score_in
from a2sg.statistics import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from a2sg.training.tables import ArmResult

log = logging.getLogger("a2sg")

Row = Mapping[str, Any]
DASHES = ("-", "--", ":", "-.")
THIN: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.8}


def run_pictures(run_folder: Path, against: Path | None = None) -> list[Path]:
    """Draw windows.png, variation.png, firing_rates.png and accuracy.png (or miou.png) into a run folder.

    Args:
        run_folder: a run's folder; a picture whose data are missing is skipped, and the log says so.
        against: another run to show beside it, such as the fixed boxcar of the same seed.

    Returns:
        The pictures written.

    Raises:
        InputError: if matplotlib is missing, or the files of a run are damaged.
    """
    either = run_folder if against is None else f"{run_folder} or {against}"
    with told(f"the files of {either} are damaged"):
        return _run_pictures(run_folder, against)


def _run_pictures(run_folder: Path, against: Path | None) -> list[Path]:
    folders = {_label(run_folder): run_folder}
    if against is not None:
        label = _label(against)
        folders[f"{label} ({against})" if label in folders else label] = against
    observed = {label: read_searches(folder / "windows.csv") for label, folder in folders.items()}
    metrics = {label: read_rows(folder / "metrics.csv") for label, folder in folders.items()}
    rates = {label: _summary(folder).get("firing_rates", {}) for label, folder in folders.items()}
    mine = next(iter(folders))
    written = []
    if observed[mine]:
        done = metrics[mine][-1].get("iteration") if metrics[mine] else None
        written.append(window_heatmap(observed[mine], run_folder / "windows.png", mine, done))
        scored = {label: rows for label, rows in observed.items() if rows and "sgv_before" in rows[0]}
        if mine in scored:  # policies other than A2SG do not compute it
            written.append(variation(scored, run_folder / "variation.png"))
    else:
        log.warning(
            "%s: no iteration was observed, so windows.png and variation.png are left out", run_folder
        )
    if rates[mine]:
        written.append(firing_rates(_filled(rates), run_folder / "firing_rates.png"))
    if metrics[mine]:
        curves = {label: [rows] for label, rows in metrics.items() if rows}
        score = score_in(metrics[mine][0], "test_")
        written.append(score_curves(curves, run_folder / f"{score.name}.png"))
    return written


def window_heatmap(rows: Sequence[Row], path: Path, title: str = "", done: int | None = None) -> Path:
    """Draw the window of every layer and step (down) over the iterations (across).

    Args:
        rows: of windows.csv, at least one. A column reaches from the iteration that set its windows to
            the next one; before the first there is the window at the start.
        path: of the PNG.
        title: which run it is.
        done: how many iterations the training had, to which the last column reaches; None: it is as wide as
            the one before.
    """
    layers, left_out = _shown(row["layer"] for row in rows)
    rows = [row for row in rows if row["layer"] in layers]
    places = sorted(
        {(row["layer"], row["step"]) for row in rows}, key=lambda place: (layers.index(place[0]), place[1])
    )
    times = sorted({row["iteration"] for row in rows})
    at = {(row["layer"], row["step"], row["iteration"]): row for row in rows}
    grid = [
        [at[*place, times[0]]["window_before"], *(at[*place, i]["window"] for i in times)] for place in places
    ]
    gap = times[-1] - times[-2] if len(times) > 1 else max(1, times[0])
    end = times[-1] + 1 + gap if done is None else max(done, times[-1] + 2)
    edges = [0, *(i + 1 for i in times), end]  # new windows act from the next iteration

    high = min(0.16, 14 / len(places))  # inches per row
    figure = _figure(9, 1.8 + high * len(places))
    axes = figure.subplots()
    top = max(1.0, *(window for line in grid for window in line))
    mesh = axes.pcolormesh(edges, range(len(places) + 1), grid, cmap="viridis", vmin=0, vmax=top)
    axes.invert_yaxis()
    starts = [[name for name, _ in places].index(layer) for layer in layers] + [len(places)]
    for start in starts[1:-1]:
        axes.axhline(start, color="white", linewidth=1.5)
    axes.set_yticks([(start + end) / 2 for start, end in pairwise(starts)], list(map(drawn_name, layers)))
    smallest = min(end - start for start, end in pairwise(starts))
    axes.tick_params(axis="y", length=0, pad=18, labelsize=min(10.0, 60 * high * smallest))
    if high > 0.1:
        axes.yaxis.remove_overlapping_locs = False  # a step may be at the same height as its layer's name
        axes.set_yticks([row + 0.5 for row in range(len(places))], [step for _, step in places], minor=True)
        axes.tick_params(axis="y", which="minor", length=2, labelsize=6, colors=GREY)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("iteration")
    figure.colorbar(mesh, ax=axes, label="window (half-width)", pad=0.02, aspect=30)
    figure.suptitle(f"Windows by layer and step: {drawn_name(title)}".rstrip(": ") + left_out)
    return _save(figure, path)


def variation(rows_by_label: Mapping[str, Sequence[Row]], path: Path) -> Path:
    """Draw SGV at the last step and TGC over the earlier ones, of the gradients that training used.

    Thin lines are layers, the thick one is their mean (geometric for SGV).

    Args:
        rows_by_label: rows of windows.csv, by the name of the run.
        path: of the PNG.
    """
    scores = {
        "SGV": {label: _over_time(rows, "sgv_before", last=True) for label, rows in rows_by_label.items()},
        "TGC": {label: _over_time(rows, "tgc_before", last=False) for label, rows in rows_by_label.items()},
    }
    titles = {
        "SGV": "spatial gradient variation, step T",
        "TGC": "temporal gradient consistency, steps t < T",
    }
    if not any(scores["TGC"].values()):  # T = 1
        del scores["TGC"]
    layers, left_out = _shown(row["layer"] for rows in rows_by_label.values() for row in rows)
    figure = _figure(5 * len(scores), 4.2)
    for axes, (name, series) in zip(_row(figure, len(scores)), scores.items(), strict=True):
        for at, (label, lines) in enumerate(series.items()):
            colour = COLOURS[at % len(COLOURS)]
            for layer in layers:
                if layer in lines:
                    _plot(axes, lines[layer], color=colour, **THIN)
            middle = _mean_line(list(lines.values()), geometric=name == "SGV")
            _plot(axes, middle, "o-", color=colour, markersize=3, linewidth=2, label=label)
        if name == "SGV":
            axes.set_yscale("log")
        axes.set(xlabel="iteration", ylabel="SGV (scales with the gradient)" if name == "SGV" else name)
        axes.set_title(titles[name], fontsize=10)
    _legend(figure, axes)
    figure.suptitle(f"Gradient variation by layer (thin) and its mean (thick){left_out}")
    return _save(figure, path)


def firing_rates(rates_by_label: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> Path:
    """Draw the firing rate of every layer and step.

    Args:
        rates_by_label: per run, layer to its rate at each step, in spikes per neuron and step.
        path: of the PNG.
    """
    layers, left_out = _shown(layer for rates in rates_by_label.values() for layer in rates)
    names = list(map(drawn_name, layers))
    steps = max(len(rate) for rates in rates_by_label.values() for rate in rates.values())
    width = steps + 1
    inches = min(24.0, max(7.5, 1.5 + 0.16 * width * len(layers)))
    figure = _figure(inches, 4.2)
    (axes,) = _row(figure, 1)
    axes.grid(visible=False, axis="x")
    for number, (label, rates) in enumerate(rates_by_label.items()):
        colour = COLOURS[number % len(COLOURS)]
        for at, layer in enumerate(layers):
            rate = rates.get(layer, [])
            places = [at * width + step for step in range(len(rate))]
            axes.plot(places, rate, "o-", color=colour, markersize=3, linewidth=1.2, alpha=0.9)
        axes.plot([], [], "o-", color=colour, label=label)
    for at in range(0, len(layers), 2):
        axes.axvspan(at * width - 1, (at + 1) * width - 1, color="black", alpha=0.04, linewidth=0)
    axes.set_xlim(-1, len(layers) * width - 1)
    axes.set_ylim(bottom=0)
    tilt = 0.09 * max(map(len, names)) > (inches - 1) / len(layers)
    axes.set_xticks(
        [at * width + (steps - 1) / 2 for at in range(len(layers))],
        names,
        rotation=35 if tilt else 0,
        ha="right" if tilt else "center",
        rotation_mode="anchor",
    )
    axes.tick_params(axis="x", length=0)
    axes.set(xlabel=f"layer, steps 1 to {steps} from left to right", ylabel="spikes per neuron and step")
    _legend(figure, axes)
    figure.suptitle(f"Firing rates on the test data{left_out}")
    return _save(figure, path)


def score_curves(metrics_by_label: Mapping[str, Sequence[Sequence[Row]]], path: Path) -> Path:
    """Draw test score (accuracy or mIoU) and training loss by epoch.

    Args:
        metrics_by_label: per label one list of rows of metrics.csv for each seed; several seeds are thin
            lines under their mean.
        path: of the PNG.
    """
    figure = _figure(10, 4.2)
    left, right = _row(figure, 2)
    first = next((row for runs in metrics_by_label.values() for rows in runs for row in rows), {})
    score = score_in(first, "test_")
    for axes, column, scale in ((left, f"test_{score.name}", 100), (right, "train_loss", 1)):
        for at, (label, runs) in enumerate(metrics_by_label.items()):
            colour, dash = COLOURS[at % len(COLOURS)], DASHES[at // len(COLOURS) % len(DASHES)]
            lines = [
                {row["epoch"]: scale * row[column] for row in rows if row[column] is not None}
                for rows in runs
            ]
            for line in lines if len(lines) > 1 else []:
                _plot(axes, line, dash, color=colour, **THIN)
            middle = _mean_line(lines)
            marker = "o" if len(middle) == 1 else ""
            _plot(axes, middle, dash, marker=marker, color=colour, linewidth=1.8, label=label)
        axes.set(xlabel="epoch", ylabel=f"test {score.text}, %" if axes is left else "training loss")
        axes.locator_params(axis="x", integer=True)
    _legend(figure, axes)
    several = any(len(runs) > 1 for runs in metrics_by_label.values())
    figure.suptitle("Training" + (": seeds (thin) and their mean (thick)" if several else ""))
    return _save(figure, path)


def over_steps_picture(rows: Sequence[Row], trained: int, path: Path) -> Path:
    """Draw a network's test score and its energy over the number of time steps.

    Args:
        rows: for each T, ascending, `steps` and the results of `a2sg.training.evaluate.evaluate`.
        trained: T in training, which is marked.
        path: of the PNG.
    """
    score = score_in(rows[0])
    figure = _figure(10, 4.2)
    left, right = _row(figure, 2)
    for axes, column, scale in ((left, score.name, 100), (right, "energy_nj_per_sample", 1)):
        line = {row["steps"]: scale * row[column] for row in rows}
        axes.axvline(trained, color=GREY, linewidth=1, linestyle="--")
        _plot(axes, line, "o-", color=COLOURS[0], linewidth=1.8)
        if trained in line:
            axes.plot(trained, line[trained], "o", color=COLOURS[1], markersize=9, label=f"T = {trained}")
        axes.set(
            xlabel="time steps T", ylabel=f"test {score.text}, %" if axes is left else "energy, nJ/sample"
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(line), list(map(str, line)))
        axes.minorticks_off()
    right.set_ylim(bottom=0)
    figure.suptitle(f"The network over T; trained with T = {trained} (dashed)")
    return _save(figure, path)


def comparison(results: Sequence[ArmResult], path: Path) -> Path:
    """Draw every run's score by arm, and the paired differences with their intervals.

    Args:
        results: arms, the baseline first.
        path: of the PNG.
    """
    seeds = len(results[0].runs)
    figure = _figure(10, 1.8 + 0.45 * len(results))
    left, right = _row(figure, 2, sharey=True)
    for at, result in enumerate(results):
        colour, difference = COLOURS[at % len(COLOURS)], result.difference
        left.plot(result.scores, [at] * seeds, "o", color=colour, alpha=0.55, markersize=6)
        if seeds > 1:
            left.plot(mean(result.scores), at, "|", color=colour, markersize=20, markeredgewidth=2.5)
        if difference is None:
            continue
        right.plot(difference.mean, at, "o", color=colour, markersize=7)
        if difference.low is not None and difference.high is not None:
            right.plot([difference.low, difference.high], [at, at], color=colour, linewidth=2.5)
        if seeds > 1:
            place = (difference.mean, at)
            right.annotate(difference.verdict, place, (0, 8), textcoords="offset points", ha="center", size=8)
    right.axvline(0, color=GREY, linewidth=1)
    left.set_yticks(range(len(results)), [drawn_name(result.arm).replace(":", "\n") for result in results])
    left.set_ylim(len(results) - 0.4, -0.6)
    right.tick_params(axis="y", length=0)
    left.set_xlabel(f"test {results[0].score.text}, %")
    right.set_xlabel(f"difference from {drawn_name(results[0].arm)}, points")
    left.set_title(f"{seeds} seeds (dots) and their mean (bar)" if seeds > 1 else "one seed", fontsize=10)
    level = next((f"{100 * result.difference.level:.4g}" for result in results if result.difference), None)
    interval = f"with {level} % interval" if seeds > 1 else "of one seed: no interval"
    right.set_title(f"paired difference {interval}" if level else "", fontsize=10)
    figure.suptitle("Comparison of arms")
    return _save(figure, path)


def _label(folder: Path) -> str:
    summary = _summary(folder)
    return f"{summary['arm'] or summary['recipe']}, seed {summary['seed']}" if summary else folder.name


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    return read_json(path) if path.is_file() else {}


def _filled(by_label: Mapping[str, Any]) -> dict[str, Any]:
    return {label: content for label, content in by_label.items() if content}


def _shown(layers: Iterable[str]) -> tuple[list[str], str]:
    """The first of the layers, each once, and what the title says about the others."""
    every = list(dict.fromkeys(layers))
    more = len(every) - LAYERS
    return every[:LAYERS], f", without {many(more, 'further layer')}" if more > 0 else ""


def _over_time(rows: Sequence[Row], column: str, *, last: bool) -> dict[str, dict[int, float]]:
    """Layer to iteration to the mean of a score: SGV at the last step, or TGC over the earlier ones."""
    steps = max((row["step"] for row in rows), default=0)
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        score = row[column]
        # An SGV of 0 means that no gradient came through; it has no logarithm.
        if (row["step"] == steps) == last and score is not None and not (last and score == 0):
            found.setdefault(row["layer"], {}).setdefault(row["iteration"], []).append(score)
    return {layer: {at: mean(values) for at, values in line.items()} for layer, line in found.items()}


def _mean_line(lines: Sequence[Mapping[int, float]], *, geometric: bool = False) -> dict[int, float]:
    """The mean of several lines at the places where all of them have a point."""
    shared = sorted(set.intersection(*(set(line) for line in lines))) if lines else []
    if geometric:
        return {at: math.exp(mean([math.log(line[at]) for line in lines])) for at in shared}
    return {at: mean([line[at] for line in lines]) for at in shared}


def _figure(width: float, height: float) -> Figure:
    """An empty figure, size in inches, that belongs to no window and need not be closed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InputError("pictures need matplotlib: pip install 'a2sg[train]'") from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _row(figure: Figure, count: int, **options: Any) -> list[Axes]:
    """Panels side by side."""
    panels = list(figure.subplots(1, count, squeeze=False, **options)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
    return panels


def _plot(axes: Axes, line: Mapping[int, float], style: str = "-", **options: Any) -> None:
    axes.plot(list(line), list(line.values()), style, **options)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    labels = list(map(drawn_name, labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)


def _save(figure: Figure, path: Path) -> Path:
    """Write the PNG completely or not at all."""
    with whole(path) as part:
        figure.savefig(part, format="png")
    return path
