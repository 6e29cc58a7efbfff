"""Train arms over seeds, and compare them in pairs of the same seed.

A comparison is a folder with one run folder per arm and seed. It can be stopped at any time: the same
command skips what is finished and resumes what is not.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from a2sg.errors import InputError, require, require_count, told
from a2sg.files import csv_text, read_rows, write_text
from a2sg.score import SCORES, score_in
from a2sg.statistics import bonferroni
from a2sg.training import pictures, tables
from a2sg.training.arms import Arm, apply_arms
from a2sg.training.config import RunConfig
from a2sg.training.folders import CONFIG, blank, read_run_config, read_summary
from a2sg.training.recipe import COUNTS, read_yaml
from a2sg.training.tables import ArmResult, arm_results

Train = Callable[..., dict[str, Any]]
Apart = Callable[[Sequence[tuple[RunConfig, Path]]], None]

FILES = (
    "comparison.csv",
    "table.csv",
    "table.md",
    "comparison.png",
    *(f"{score.name}.png" for score in SCORES.values()),
)
"""Files that a comparison writes next to its run folders."""
RUN_COLUMNS = (
    "loss",
    "spikes_per_sample",
    "energy_nj_per_sample",
    "seconds",
    "search_seconds",
    "search_share",
    "epochs",
    "device",
)


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        out: its folder.
        results: one per arm, the baseline first.
        remarks: notes that a reader of the table needs.
    """

    out: Path
    results: list[ArmResult]
    remarks: list[str]


@dataclass(frozen=True)
class _Run:
    config: RunConfig
    folder: Path

    @property
    def summary(self) -> dict[str, Any] | None:
        """The results of the run; None until it is finished."""
        return read_summary(self.folder)


def compare(
    config: RunConfig,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    out: Path,
    *,
    train: Train | None = None,
    apart: Apart | None = None,
    overwrite: bool = False,
    level: float = 0.95,
    corrected: bool = False,
) -> Comparison:
    """Train every arm with every seed, and write and print the results.

    Leaves in `out` a run folder ARM-sSEED for each, `comparison.csv` (a row per run), `table.csv` and
    `table.md` (a row per arm), `comparison.png` and `accuracy.png` (or `miou.png`).

    Args:
        config: the run that all arms share; its seed is not used.
        arms: the first is the baseline of all differences.
        seeds: of every arm, so that differences are taken between runs with the same seed.
        out: new, empty, or the folder of a comparison to continue.
        train: how a run is trained; default `a2sg.training.run.train`.
        apart: trains all unfinished runs, instead of `train` one by one; such as
            `a2sg.training.spread.train_apart`.
        overwrite: start again: delete the runs and tables of a comparison in `out`, and nothing else.
        level: confidence of the intervals.
        corrected: whether `level` holds for all intervals together (Bonferroni), not for each alone.

    Raises:
        InputError: for arms that are the same, invalid seeds, a folder that holds something else, or a run
            in it that was trained differently.
    """
    require(len(arms) > 0, "a comparison needs at least one arm, such as a2sg")
    require(len(seeds) > 0, "a comparison needs at least one seed, such as 0")
    require(len(set(seeds)) == len(seeds), f"seeds must differ, not {', '.join(map(str, seeds))}")
    for seed in seeds:
        require_count("seed", seed, *COUNTS["seed"])
    bonferroni(level, 1)  # checks it
    configs = apply_arms(config, arms)
    # By seed first: the runs of a pair are then close in time, under similar conditions.
    runs = [
        _Run(replace(arm_config, seed=seed), out / _folder_name(arm_config.arm, seed))
        for seed in seeds
        for arm_config in configs
    ]
    _check_folder(out, overwrite)
    for run in runs:
        _require_same(run)
    _train_all(runs, len(arms), train or _default_train(), apart)
    with told(f"the files of the runs in {out} are damaged"):
        return _report(runs, arms, seeds, out, level, corrected)


def _default_train() -> Train:
    from a2sg.training.run import train

    return train


def _train_all(runs: Sequence[_Run], arms: int, train: Train, apart: Apart | None) -> None:
    fresh = [run for run in runs if run.summary is None]
    if apart is not None:
        apart([(run.config, run.folder) for run in fresh])
    for number, run in enumerate(runs):
        finished = run not in fresh
        if apart is None:
            label = f"run {number + 1} of {len(runs)}: {run.config.arm}, seed {run.config.seed}"
            print(f"{label} (finished before)" if finished else label, file=sys.stderr)
            if not finished:
                train(run.config, run.folder, resume=(run.folder / CONFIG).is_file())
        if not (finished and any((run.folder / f"{score.name}.png").is_file() for score in SCORES.values())):
            baseline = runs[number - number % arms]
            pictures.run_pictures(run.folder, None if baseline is run else baseline.folder)


def _report(
    runs: Sequence[_Run],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    out: Path,
    level: float,
    corrected: bool,
) -> Comparison:
    """Write tables and pictures, and print the table."""
    found: dict[str, list[dict[str, Any]]] = {arm.label: [] for arm in arms}
    curves: dict[str, list[list[dict[str, Any]]]] = {arm.label: [] for arm in arms}
    rows = []
    for run in runs:
        summary = run.summary
        assert summary is not None
        found[run.config.arm].append(summary)
        curves[run.config.arm].append(read_rows(run.folder / "metrics.csv"))
        columns = ("arm", "seed", score_in(summary).name, *RUN_COLUMNS)
        rows.append({column: summary.get(column) for column in columns} | {"folder": run.folder.name})
    results = arm_results(found, level, corrected)
    remarks = tables.notes(results, level, corrected)
    config = runs[0].config
    title = f"{config.recipe}: {_count(len(seeds), 'seed')}, {_count(config.epochs, 'epoch')}"
    write_text(out / "comparison.csv", csv_text(rows))
    write_text(out / "table.csv", csv_text(tables.table_rows(results)))
    write_text(out / "table.md", tables.markdown_table(results, title, remarks))
    pictures.comparison(results, out / "comparison.png")
    pictures.score_curves(curves, out / f"{results[0].score.name}.png")
    tables.print_table(results, title, remarks)
    shown = next((arm for arm in arms if arm.adaptive), arms[-1])
    print(f"\ntables and pictures: {out}")
    print(f"a run's pictures:    {out / _folder_name(shown.label, seeds[0])}")
    return Comparison(out, results, remarks)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _folder_name(label: str, seed: int) -> str:
    return f"{label.replace(':', '_')}-s{seed}"


def _check_folder(out: Path, overwrite: bool) -> None:
    """Raise `InputError` unless `out` is free or holds a comparison; with `overwrite`, delete that."""
    if not out.exists():
        return
    require(out.is_dir(), f"{out} is a file, not a folder: choose another --out")
    children = [child for child in out.iterdir() if not blank(child)]
    runs = [child for child in children if _is_run(child)]
    require(
        not children or len(runs) > 0,
        f"{out} holds something other than a comparison (no folder ARM-sSEED of a run): choose another --out",
    )
    if overwrite:
        for folder in runs:
            shutil.rmtree(folder)
        for name in FILES:
            (out / name).unlink(missing_ok=True)


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run that a comparison made: named after the arm and seed of the run inside."""
    path = folder / CONFIG
    if folder.is_symlink() or not path.is_file():
        return False
    try:
        values = read_yaml(path)
    except InputError:
        return False
    return bool(values.get("arm")) and folder.name == _folder_name(str(values["arm"]), values.get("seed", -1))


def _require_same(run: _Run) -> None:
    """Raise `InputError` if the folder of a run holds something else."""
    require(not run.folder.is_symlink(), f"{run.folder} is a link: replace it by a folder, or delete it")
    if blank(run.folder):
        return
    require(
        (run.folder / CONFIG).is_file(),
        f"{run.folder} holds something other than a run: choose another --out",
    )
    there, here = _flat(asdict(read_run_config(run.folder))), _flat(asdict(run.config))
    for name in sorted(there.keys() | here.keys()):
        require(
            there.get(name) == here.get(name),
            f"{run.folder} was trained with {name} {there.get(name)}, not {here.get(name)}: choose another "
            "--out, or --overwrite",
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
