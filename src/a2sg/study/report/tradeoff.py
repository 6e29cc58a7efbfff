"""Accuracy against energy over the arms of a comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from a2sg.errors import InputError, require
from a2sg.score import score_in
from a2sg.statistics import deviation, mean
from a2sg.study.measure.result import Result


@dataclass(frozen=True)
class RunPoint(Result):
    """One run.

    Attributes:
        arm: its label.
        seed: of the run.
        measure: what the score is: "accuracy" or "miou".
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
            them better. Of means: it says nothing of chance.
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
    require(len(measures) <= 1, f"runs judged by {' and '.join(measures)} do not fit into one picture")
    arms: dict[str, list[RunPoint]] = {}
    for point in points:
        arms.setdefault(point.arm, []).append(point)
    means = {
        arm: (mean([run.score for run in runs]), mean([run.energy_nj for run in runs]))
        for arm, runs in arms.items()
    }
    return [
        ArmPoint(
            arm=arm,
            runs=len(runs),
            score=means[arm][0],
            score_deviation=deviation([run.score for run in runs]),
            energy_nj=means[arm][1],
            energy_deviation=deviation([run.energy_nj for run in runs]),
            dominated=any(_beats(other, means[arm]) for other in means.values()),
        )
        for arm, runs in arms.items()
    ]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] <= other[1]


def _point(path: Path) -> RunPoint:
    try:
        summary = json.loads(path.read_text())
        name = score_in(summary).name
        return RunPoint(
            arm=summary["arm"],
            seed=summary["seed"],
            measure=name,
            score=summary[name],
            energy_nj=summary["energy_nj_per_sample"],
            spikes=summary["spikes_per_sample"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no summary of a finished run: delete it and train the run again"
        ) from error
