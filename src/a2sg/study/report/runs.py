"""Which runs the folders of an analysis stand for, and their accuracy and energy."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from a2sg.errors import require, told
from a2sg.files import read_json
from a2sg.score import score_in
from a2sg.statistics import deviation, mean
from a2sg.study.measure.result import Result


@dataclass(frozen=True)
class RunPoint(Result):
    """One run.

    Attributes:
        arm: its label.
        seed: of the run.
        measure: name of the score: "accuracy" or "miou".
        score: 0 .. 1.
        energy_nj: estimated energy of a sample's forward pass, in nJ; see `EnergyMeter`.
        spikes: per sample.
    """

    arm: str
    seed: int
    measure: str
    score: float
    energy_nj: float
    spikes: float


@dataclass(frozen=True)
class ArmPoint(Result):
    """All runs of one arm.

    Attributes:
        arm: its label.
        runs: how many.
        score: mean.
        score_deviation: sample standard deviation; None of one run.
        energy_nj: mean.
        energy_deviation: likewise.
        dominated: whether another arm has at least its mean score for at most its mean energy, and one of
            them better. Of means: it says nothing about chance.
    """

    arm: str
    runs: int
    score: float
    score_deviation: float | None
    energy_nj: float
    energy_deviation: float | None
    dominated: bool


def run_points(folder: str | Path) -> list[RunPoint]:
    """A point for every finished run of a comparison's folder, or for the run folder given.

    Raises:
        InputError: if there is no finished run, or a summary cannot be read.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*/summary.json")) or sorted(folder.glob("summary.json"))
    require(
        bool(paths),
        f"{folder} has no finished runs (no ARM-sSEED/summary.json): a2sg compare writes them",
    )
    return [_point(path) for path in paths]


def arm_points(points: Sequence[RunPoint]) -> list[ArmPoint]:
    """The mean of every arm's runs, in the order of their first run.

    Raises:
        InputError: if the runs were judged by different measures.
    """
    measures = sorted({point.measure for point in points})
    require(len(measures) <= 1, f"runs judged by {' and '.join(measures)} cannot share one picture")
    arms: dict[str, list[RunPoint]] = {}
    for point in points:
        arms.setdefault(point.arm, []).append(point)
    found = []
    for arm, runs in arms.items():
        scores, energies = [run.score for run in runs], [run.energy_nj for run in runs]
        spread = deviation(scores), mean(energies), deviation(energies)
        found.append(ArmPoint(arm, len(runs), mean(scores), *spread, dominated=False))

    def beaten(one: ArmPoint) -> bool:
        own = one.score, one.energy_nj
        pairs = ((other.score, other.energy_nj) for other in found)
        return any(pair != own and pair[0] >= own[0] and pair[1] <= own[1] for pair in pairs)

    return [replace(one, dominated=beaten(one)) for one in found]


def _point(path: Path) -> RunPoint:
    summary = read_json(path)
    with told(f"{path} is not a summary of a finished run: delete it and train the run again"):
        name = score_in(summary).name
        score, *costs = (float(summary[one]) for one in (name, "energy_nj_per_sample", "spikes_per_sample"))
        return RunPoint(str(summary["arm"] or ""), int(summary["seed"]), name, score, *costs)


def find_runs(names: Sequence[str | Path]) -> tuple[list[Path], list[RunPoint], list[str]]:
    """Run folders; accuracy and energy, also of a comparison's other seeds; sentences on what was left out.

    A comparison's folder stands for a finished run of each of its arms, of the smallest seed that all have.

    Raises:
        InputError: for a folder that holds no run, or none that is finished.
    """
    require(len(names) > 0, "there is no run to analyze: give the folder of a run or of a comparison")
    folders: dict[Path, Path] = {}
    points: dict[Path, RunPoint] = {}
    left_out: list[str] = []
    for folder in map(Path, names):
        require(folder.is_dir(), f"{folder} is not a run folder: give one of a2sg train or a2sg compare")
        found = finished = [folder]
        if not (folder / "config.yaml").is_file():
            found, finished, said = _one_per_arm(folder)
            left_out += said
        for run in found:
            require(
                (run / "summary.json").is_file(),
                f"{run} is not finished: it has no summary.json (continue it with a2sg train --resume "
                f"{shlex.quote(str(run))})",
            )
            folders.setdefault(run.resolve(), run)
        for run in finished:
            points.setdefault(run.resolve(), run_points(run)[0])
    return list(folders.values()), list(points.values()), left_out


def _one_per_arm(folder: Path) -> tuple[list[Path], list[Path], list[str]]:
    """From a comparison: one run of each arm, all finished runs, and what was left out."""
    runs = sorted(path.parent for path in folder.glob("*/config.yaml"))
    require(len(runs) > 0, f"{folder} is not a run folder: it has no config.yaml (a2sg train writes one)")
    order = _order(folder)
    runs.sort(key=lambda run: order.get(run.name, len(order)))
    finished = [run for run in runs if (run / "summary.json").is_file()]
    require(len(finished) > 0, f"{folder} has no finished run: continue it with the same a2sg compare")
    arms: dict[str, dict[int, Path]] = {}
    for run in finished:
        (point,) = run_points(run)
        arms.setdefault(point.arm, {})[point.seed] = run
    shared = set.intersection(*map(set, arms.values()))
    said = [f"{run} is not finished and was left out." for run in runs if run not in finished]
    if not shared:
        said.append("No seed is finished in all arms, so runs of different seeds stand side by side.")
    if len(finished) > len(arms):
        said.append(
            f"Of the {len(finished)} finished runs of {folder}, the one with the smallest seed "
            f"{'that all arms have' if shared else 'of each arm'} is analysed; the picture of accuracy and "
            "energy has all of them."
        )
    return [seeds[min(shared or seeds)] for seeds in arms.values()], finished, said


def _order(folder: Path) -> dict[str, int]:
    """The position of each run in a comparison, the baseline's first; none if it is not recorded."""
    path = folder / "comparison.csv"
    if not path.is_file():
        return {}
    with told(f"{path} is damaged"), path.open(newline="", encoding="utf-8") as file:
        return {row["folder"]: at for at, row in enumerate(csv.DictReader(file))}
