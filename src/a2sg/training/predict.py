"""A trained network's predictions for files outside any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from a2sg.data.sets import ImageData
from a2sg.errors import InputError, one_line, require, require_count, told
from a2sg.modes import in_mode
from a2sg.progress import progress as show_progress

if TYPE_CHECKING:
    from a2sg.training.task import SpikingTask

Said = dict[str, Any]
"""The prediction for a file: `file`, and `classes`, the likeliest first; for regression `values` by name."""


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """Files, with folders replaced by all files in them, by name; hidden files are skipped.

    Raises:
        InputError: for a path that does not exist, or if there are no files.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        require(path.exists(), f"there is no file or folder {path}")
        found += sorted(_inside(path)) if path.is_dir() else [path]
    require(bool(found), f"{', '.join(map(str, paths))} has no files")
    return found


@torch.no_grad()
def predict(
    task: SpikingTask,
    files: Sequence[Path],
    *,
    top: int = 1,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> list[Said]:
    """A run's predictions for each file: its likeliest classes, or its numbers.

    Files are read like those of the run's data set, with the same limits.

    Args:
        task: the run's, as `a2sg.training.run.load_run` gives it.
        files: each holds one sample.
        top: number of classes per file, at most all.
        device: where to compute.
        progress: whether to show a bar.

    Returns:
        A dict for each file: `file`, and `classes`, dicts of `class` and `probability`, the softmax of the
        readout; for regression `values`, by the names of the numbers.

    Raises:
        InputError: if the run's data set has no such files, or one cannot be read or has another size.
    """
    require_count("top", top)
    data, name = task.data, task.config.data.name
    require(
        data.task != "segmentation",
        f"data set {name!r} asks for the class of every pixel, and predict gives one answer per file: use "
        "a2sg.training.run.load_run in Python",
    )
    task.to(device)
    size = task.config.data.batch_size
    starts = range(0, len(files), size)
    said: list[Said] = []
    with in_mode(task, training=False):
        for start in show_progress(starts, "predicting", len(starts), None if progress else False):
            some = files[start : start + size]
            images = torch.from_numpy(np.stack([_read(file, data, name) for file in some])).to(device)
            x = task.standardize(task.arrange(images))
            outputs = task.loss.readout(task.model(x), **task.lengths(x))
            said += [
                {"file": one_line(file), **answer}
                for file, answer in zip(some, _answers(outputs.cpu(), data, top), strict=True)
            ]
    return said


def flat(said: Said) -> dict[str, Any]:
    """As a row of a table: `class`, `probability`, `class_2`, `probability_2` …, or a column per number."""
    row = {"file": said["file"], **said.get("values", {})}
    for rank, found in enumerate(said.get("classes", ()), 1):
        row |= {key if rank == 1 else f"{key}_{rank}": value for key, value in found.items()}
    return row


def _answers(outputs: Tensor, data: ImageData, top: int) -> list[Mapping[str, Any]]:
    """Of outputs `[B, K]`."""
    if data.task == "regression":
        return [{"values": dict(zip(data.classes, row, strict=True))} for row in outputs.tolist()]
    shares, labels = outputs.softmax(1).topk(min(top, len(data.classes)))
    return [
        {
            "classes": [
                {"class": data.classes[label], "probability": round(share, 7)}  # float32 has no more
                for share, label in zip(*both, strict=True)
            ]
        }
        for both in zip(shares.tolist(), labels.tolist(), strict=True)
    ]


def _read(file: Path, data: ImageData, name: str) -> np.ndarray:
    """A sample `[C, H, W]` or `[T, C, H, W]`."""
    if data.reader is None:
        raise InputError(
            f"data set {name!r} cannot read files: if it is your own, give its ImageData a reader"
        )
    with told(f"{file} cannot be read"):
        sample = np.asarray(data.reader(file))
    shape = data.shape if data.steps is None else (data.steps, *data.shape)
    require(
        sample.shape == shape,
        f"{file} gives a sample of shape {sample.shape}, but the network was trained on {shape} (channels, "
        "height and width last): give files of that size, or train with data.options.image_size",
    )
    return sample if sample.dtype == np.uint8 else sample.astype(np.float32)


def _inside(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
