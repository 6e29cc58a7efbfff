"""Keep what the page of evidence needs of a comparison's folder.

    python evidence/store.py runs/NAME [--as OTHER_NAME] [--add]

Run folders are large (weights, every window of every search); what is kept is a few KB a run.

`--add` puts further arms beside those that are stored. Both have to have an arm in common, whose runs must
have given the very same numbers: so differences between old and new arms are of the arms alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import deep_nets
from a2sg.errors import InputError, require
from a2sg.files import csv_text, read_rows, write_text
from a2sg.progress import progress
from a2sg.statistics import mean
from a2sg.training import plain
from a2sg.training.arms import parse_arm
from a2sg.training.recipe import load_recipe, read_config, read_yaml

STORE = Path(__file__).parent / "runs"
TABLE = "table.md"
SAME = ("accuracy", "miou", "loss", "spikes_per_sample")
"""What runs of one arm and seed have to agree in."""
LOCAL = ("source",)
"""Options of data sets that say where files lie on one machine."""


def runs_of(folder: Path, arms: Collection[str] = ()) -> list[Path]:
    """The finished run folders of a comparison, arms together in the order of their first seed.

    Args:
        folder: --out of a2sg compare.
        arms: whose runs; empty for all.
    """
    found = [path.parent for path in folder.glob("*/summary.json")]
    require(bool(found), f"{folder} holds no finished run: give the --out folder of a2sg compare")
    if arms:
        found = [run for run in found if read_config(run / "config.yaml").arm in arms]
        require(bool(found), f"{folder} has no finished runs of {', '.join(arms)}")
    return sorted(found, key=lambda run: (run / "summary.json").stat().st_mtime)


def run_row(run: Path) -> dict[str, Any]:
    """One row of runs.csv."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    names = ("arm", "seed", "accuracy", "miou", "loss", "spikes_per_sample", "energy_nj_per_sample")
    row = {name: summary.get(name) for name in names}
    windows = [window for steps in summary["windows"].values() for window in steps]
    row |= {name: summary[name] for name in ("seconds", "search_seconds", "epochs", "device", "date")}
    return row | {"mean_window": mean(windows), "torch": summary["versions"]["torch"]}


def variation_rows(run: Path) -> list[dict[str, Any]]:
    """SGV at T (geometric mean) and TGC before (mean) over layers, per search, of the gradients in use."""
    rows = read_rows(run / "windows.csv")
    steps = max((row["step"] for row in rows), default=0)
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: {"sgv": [], "tgc": [], "gain": []})
    for row in rows:
        at = found[row["iteration"]]
        before, after = row.get("sgv_before"), row.get("sgv")
        if row["step"] == steps and before and after:
            at["sgv"].append(math.log(before))
            at["gain"].append(math.log(after / before))
        if row["step"] < steps and row.get("tgc_before") is not None:
            at["tgc"].append(row["tgc_before"])
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return [
        {
            "arm": summary["arm"],
            "seed": summary["seed"],
            "iteration": iteration,
            "sgv": math.exp(mean(parts["sgv"])) if parts["sgv"] else None,
            "sgv_gain": math.exp(mean(parts["gain"])) if parts["gain"] else None,
            "tgc": mean(parts["tgc"]) if parts["tgc"] else None,
        }
        for iteration, parts in sorted(found.items())
    ]


def commands_of(configs: Sequence[dict[str, Any]], before: Sequence[str] = ()) -> list[str]:
    """The commands that repeat a comparison: one for each set of settings, such as a learning rate.

    Args:
        configs: of its runs.
        before: commands to which they are added.
    """
    parts: dict[str, tuple[list[str], list[int]]] = {}
    for line in before:
        settings, _, rest = line.partition(" --arms ")
        arms, _, seeds = rest.partition(" --seeds ")
        parts[settings] = (arms.split(","), [int(seed) for seed in seeds.split(",")])
    for config in configs:
        arms_here, seeds_here = parts.setdefault(settings_of(config), ([], []))
        arms_here.append(config["arm"])
        seeds_here.append(config["seed"])
    return [
        f"{settings} --arms {','.join(dict.fromkeys(arms_here))} "
        f"--seeds {','.join(map(str, sorted(set(seeds_here))))}"
        for settings, (arms_here, seeds_here) in parts.items()
    ]


def settings_of(config: dict[str, Any]) -> str:
    """The command without arms and seeds: the recipe, and the fields that differ from it in all arms."""
    words = [f"a2sg compare {config['recipe']}"]
    if hasattr(deep_nets, config["model"]["name"]):
        words.append(f"--import {deep_nets.__name__}")
    recipe = asdict(load_recipe(config["recipe"]))
    of_arm = parse_arm(config["arm"]).windows
    for name, value in config.items():
        if name in ("recipe", "arm", "seed", "surrogate"):
            continue
        if not isinstance(value, dict):
            if value != recipe[name]:
                words.append(f"--{name} {value}")
            continue
        for field, inner in value.items():
            if name == "windows" and field in of_arm:
                continue
            if isinstance(inner, dict):
                there = recipe[name][field]
                words += [
                    f"--{name}.{field}.{key} {shlex.quote(plain_word(item))}"
                    for key, item in inner.items()
                    if key not in LOCAL and there.get(key, ...) != item
                ]
                if any(key in LOCAL and item != there.get(key) for key, item in inner.items()):
                    words.append(f"--{name}.{field}.source PATH")
            elif inner != recipe[name][field]:
                words.append(f"--{name}.{field} {inner}")
    return " ".join(words)


def plain_word(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def added(
    old: list[dict[str, Any]], new: list[dict[str, Any]], columns: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The old rows, and those of the new ones whose arm and seed are not there yet.

    Raises:
        InputError: if no arm and seed is in both, or one that is differs in a column.
    """
    there = {(row["arm"], row["seed"]): row for row in old}
    common = [row for row in new if (row["arm"], row["seed"]) in there]
    require(bool(common), "no run is in both: train an arm again that is stored already, such as asy")
    for row in common:
        before = there[row["arm"], row["seed"]]
        for column in columns:
            require(
                row[column] == before[column],
                f"{row['arm']}, seed {row['seed']}, has {column} {row[column]}, but {before[column]} is "
                "stored: this is another machine or version, so train all arms again",
            )
    return old + [row for row in new if (row["arm"], row["seed"]) not in there]


def _as_text(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(text.splitlines()))


def store(folder: Path, name: str, add: bool = False) -> Path:
    """Write evidence/runs/NAME."""
    runs = runs_of(folder)
    rows = [run_row(run) for run in runs]
    variation = [row for run in runs for row in variation_rows(run)]
    configs = [read_yaml(run / "config.yaml") for run in runs]
    out = STORE / name
    before: list[str] = []
    if add:
        require((out / "runs.csv").is_file(), f"there is no {name} yet to add to: store it without --add")
        rows = added(_as_text((out / "runs.csv").read_text(encoding="utf-8")), _as_text(csv_text(rows)), SAME)
        variation = added(
            _as_text((out / "variation.csv").read_text(encoding="utf-8")), _as_text(csv_text(variation))
        )
        before = (out / "command.txt").read_text(encoding="utf-8").splitlines()
    commands = commands_of(configs, before)
    config = configs[0]
    for key in LOCAL:
        config["data"]["options"].pop(key, None)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "command.txt", "\n".join(commands) + "\n")
    write_text(out / "runs.csv", csv_text(rows))
    write_text(out / "variation.csv", csv_text(variation))
    if add:  # the config and the table are of the arms stored first
        return out
    write_text(out / "config.yaml", plain.write(config))
    if (folder / TABLE).is_file():
        shutil.copy(folder / TABLE, out / TABLE)
    return out


def measure_parser(doc: str, arms: str) -> argparse.ArgumentParser:
    """What scripts that measure the runs of a comparison get; `arms` is the default, empty for all."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="--out folder of a2sg compare")
    parser.add_argument("--as", dest="name", help="its name in evidence/runs (default: the folder's)")
    parser.add_argument("--arms", default=arms, help=f"whose runs (default: {arms or 'all'})")
    return parser


def measure(
    options: argparse.Namespace, file: str, title: str, rows_of: Callable[[Path], list[dict[str, Any]]]
) -> int:
    """Measure every run that the options name, and write evidence/runs/NAME/FILE; the exit status."""
    torch.set_num_threads(1)
    try:
        runs = runs_of(options.folder, options.arms.split(",") if options.arms else ())
        rows = [row for run in progress(runs, title, len(runs)) for row in rows_of(run)]
    except InputError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        return 2
    out = STORE / (options.name or options.folder.resolve().name)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / file, csv_text(rows))
    print(f"wrote {out / file}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="--out folder of a2sg compare")
    parser.add_argument("--as", dest="name", help="its name in evidence/runs (default: the folder's)")
    parser.add_argument("--add", action="store_true", help="beside the arms that are stored under this name")
    options = parser.parse_args()
    try:
        out = store(options.folder, options.name or options.folder.resolve().name, options.add)
    except InputError as error:
        print(f"store.py: error: {error}", file=sys.stderr)
        return 2
    print(f"stored in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
