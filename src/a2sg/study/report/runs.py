"""Which runs the folders of an analysis stand for."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from a2sg.errors import require
from a2sg.study.report.tradeoff import RunPoint, run_points


def find_runs(names: Sequence[str | Path]) -> tuple[list[Path], list[RunPoint], list[str]]:
    """Run folders, and what was left out.

    A comparison's folder stands for the finished run with the smallest seed of each of its arms.

    Returns:
        Run folders; accuracy and energy of these and of a comparison's other seeds; sentences on what was
        left out.

    Raises:
        InputError: for a folder that holds no run, or none that is finished.
    """
    require(len(names) > 0, "there is no run to analyze: give the folder of a run or of a comparison")
    folders: dict[Path, Path] = {}
    points: dict[Path, RunPoint] = {}
    left_out: list[str] = []
    for folder in map(Path, names):
        require(folder.is_dir(), f"{folder} is no run folder: give one of a2sg train, or of a2sg compare")
        found = finished = [folder]
        if not (folder / "config.yaml").is_file():
            found, finished, said = _one_per_arm(folder)
            left_out += said
        for run in found:
            require(
                (run / "summary.json").is_file(),
                f"{run} is not finished: it has no summary.json (a2sg train --resume {run} goes on)",
            )
            folders.setdefault(run.resolve(), run)
        for run in finished:
            points.setdefault(run.resolve(), run_points(run)[0])
    return list(folders.values()), list(points.values()), left_out


def _one_per_arm(folder: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Of a comparison: a run of each arm, all finished ones, and what was left out."""
    runs = sorted(path.parent for path in folder.glob("*/config.yaml"))
    require(len(runs) > 0, f"{folder} is no run folder: it has no config.yaml (a2sg train writes one)")
    order = _order(folder)
    runs.sort(key=lambda run: order.get(run.name, len(order)))
    finished = [run for run in runs if (run / "summary.json").is_file()]
    require(len(finished) > 0, f"{folder} has no finished run: the same a2sg compare goes on with it")
    first: dict[str, tuple[int, Path]] = {}
    for run in finished:
        (point,) = run_points(run)
        if point.arm not in first or point.seed < first[point.arm][0]:
            first[point.arm] = point.seed, run
    said = [f"{run} is not finished and was left out." for run in runs if run not in finished]
    if len(finished) > len(first):
        said.append(
            f"Of the {len(finished)} finished runs of {folder}, the one with the smallest seed of each arm "
            "is analysed; the picture of accuracy and energy has all of them."
        )
    return [run for _, run in first.values()], finished, said


def _order(folder: Path) -> dict[str, int]:
    """The place of each run in a comparison, the baseline's first; none where it does not say."""
    path = folder / "comparison.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["folder"]: at for at, row in enumerate(csv.DictReader(file))}
