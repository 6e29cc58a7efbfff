"""A trained network at other numbers of time steps: its score, spikes and energy over T."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from a2sg.data.sets import DATA
from a2sg.errors import InputError, require
from a2sg.files import write_json
from a2sg.ranks import by_first
from a2sg.training.build import build_data
from a2sg.training.evaluate import evaluate
from a2sg.training.folders import read_run_config
from a2sg.training.pictures import over_steps_picture
from a2sg.training.run import load_run

JSON, PICTURE = "evaluation-steps.json", "steps.png"
MOST = 100_000


def read_steps(text: str) -> list[int]:
    """The numbers of steps in a text such as `1,2,4,8`, ascending.

    Raises:
        InputError: for anything else.
    """
    words = [word.strip() for word in text.split(",")]
    good = all(word.isdecimal() and 1 <= int(word) <= MOST for word in words if len(word) < 10)
    require(
        good and all(0 < len(word) < 10 for word in words),
        f"--steps takes whole numbers from 1 to {MOST:,} such as 1,2,4,8, not {text!r}",
    )
    return sorted({int(word) for word in words})


def evaluate_over_steps(
    folder: Path, steps: Sequence[int], device: torch.device, *, progress: bool = False
) -> dict[str, Any]:
    """Measure the network of a run at several T on its test data; a JSON and a picture go into its folder.

    Images are shown at every step. Recordings are cut into as many frames as there are steps.

    Args:
        folder: of the run.
        steps: T, each of them.
        device: where to compute.
        progress: whether to show progress.

    Returns:
        `trained_steps`; and `steps`, for each T a dict of `steps` and the results of `evaluate`.

    Raises:
        InputError: if the folder is not a run, or its recordings cannot be cut into another number of frames.
    """
    config = read_run_config(folder)
    trained = config.model.steps
    data = build_data(config)
    others = [one for one in steps if one != trained]
    if data.steps is not None and others and not DATA.takes(config.data.name, "steps"):
        raise InputError(
            f"data set {config.data.name!r} has recordings of {data.steps} frames and no option steps, so "
            f"they cannot be cut into {others[0]}: evaluate it at --steps {trained}, or give the data set "
            "that option"
        )
    rows = []
    for one in steps:
        at = replace(config, model=replace(config.model, steps=one))
        fitting = data if data.steps is None or one == trained else build_data(at)
        task = load_run(folder, at=at, data=fitting)
        rows.append({"steps": one, **evaluate(task, device, progress=progress)})
    found = {"trained_steps": trained, "steps": rows}
    by_first(lambda: _write(folder, found))
    return found


def _write(folder: Path, found: Mapping[str, Any]) -> None:
    write_json(folder / JSON, found)
    over_steps_picture(found["steps"], found["trained_steps"], folder / PICTURE)
