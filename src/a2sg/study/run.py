"""Opens trained runs: the only place where `study` uses `training`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from a2sg.errors import require, told
from a2sg.files import read_rows, read_searches
from a2sg.study.measure.variation import HistoryPoint, history_points

if TYPE_CHECKING:
    from a2sg.data import ImageData
    from a2sg.training.config import RunConfig
    from a2sg.training.losses import Criterion
    from a2sg.training.task import SpikingTask


@dataclass(frozen=True)
class Run:
    """A finished run in its folder; the loss is without terms added to it (im, rmp)."""

    folder: Path
    task: SpikingTask
    config: RunConfig
    model: nn.Module
    loss: Criterion
    data: ImageData

    @cached_property
    def epochs(self) -> list[int]:
        """The epochs, counted from 1, whose weights were kept, ascending; the last one always is."""
        from a2sg.training.run import kept_epochs

        return sorted({*kept_epochs(self.folder), self.config.epochs})

    @contextmanager
    def at(self, epoch: int) -> Iterator[None]:
        """The network as it was after one of the `epochs`, inside this context.

        Raises:
            InputError: if these weights cannot be read.
        """
        from a2sg.training.run import load_weights

        if epoch == self.config.epochs:
            yield
            return
        try:
            load_weights(self.task, self.folder, epoch)
            yield
        finally:
            load_weights(self.task, self.folder)


def open_run(folder: Path) -> Run:
    """The trained network of a run folder, with its data.

    Raises:
        InputError: if the folder is not a run, or its checkpoint cannot be read or does not fit.
    """
    from a2sg.training.run import load_run

    task = load_run(folder)
    require(
        not task.data.padded,
        f"{folder} has recordings of different lengths, and a study does not know where they end: train it "
        "without data.options.frame_ms",
    )
    return Run(folder, task, task.config, task.model, task.loss, task.data)


def run_history(folder: str | Path, searches: int = 1000) -> list[HistoryPoint]:
    """SGV, TGC and window per layer and step over a run's training, from its `windows.csv`.

    Runs with fixed windows have one too: their layers are observed at the same iterations.

    Args:
        folder: of the run.
        searches: at most this many; if a run has more, they are evenly spread over its training.

    Raises:
        InputError: if the folder holds no `windows.csv`, or it has no rows.
    """
    folder = Path(folder)
    rows = read_searches(folder / "windows.csv", searches)
    require(
        bool(rows),
        f"{folder} has no observed iterations in a windows.csv: is it a run folder, trained for longer than "
        "windows.start iterations?",
    )
    with told(f"the tables of {folder} are damaged"):
        ends = [(row["epoch"], row["iteration"]) for row in read_rows(folder / "metrics.csv")]
        return history_points(rows, ends=ends)


def usual_loss(task: str = "classification") -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a network without a run: cross-entropy of its mean output, or its squared error."""
    from a2sg.training.losses import MeanLoss
    from a2sg.training.regression import MSELoss

    return MSELoss() if task == "regression" else MeanLoss()
