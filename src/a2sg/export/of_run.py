"""The network of a run folder, for another library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from a2sg.data import ImageData
from a2sg.export.nir_graph import to_nir
from a2sg.training.losses import MembraneLoss
from a2sg.training.run import load_run

if TYPE_CHECKING:
    import nir


def run_to_nir(folder: Path, reader: str) -> nir.NIRGraph:
    """`to_nir` of a run's network; the metadata describes its input and how to read its decision.

    Args:
        folder: the run.
        reader: see `to_nir`.

    Raises:
        InputError: if the folder is not a run, or its network cannot be exported.
    """
    task = load_run(folder)
    config, data = task.config, task.data
    readout = "the class of the largest mean over the steps"
    if data.task == "regression":
        readout = "the mean over the steps"
    if isinstance(task.loss, MembraneLoss):
        readout = f"the class of the largest v[T], v[t] = {task.loss.decay:g} v[t-1] + output[t]"
    facts = {
        "model": config.model.name,
        "data": config.data.name,
        "classes": ", ".join(data.classes),
        "input": input_of(data),
        "readout": readout,
    }
    return to_nir(task.model, data.shape, reader=reader, facts=facts)


def input_of(data: ImageData) -> str:
    """The network's input at each step, in words."""
    shown = "the image at every step" if data.steps is None else "frame t at step t"
    if not len(data.mean):
        return f"{shown}, its values as the data set gives them"
    mean, std = (" ".join(f"{value:.9g}" for value in values) for values in (data.mean, data.std))
    return f"{shown}, pixels from 0 to 1 less {mean} (by channel), divided by {std}"
