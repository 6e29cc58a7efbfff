"""Trains a run in its folder, and resumes one that was interrupted."""

from __future__ import annotations

import logging
import platform
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch import nn

from a2sg._version import __version__
from a2sg.data import ImageData
from a2sg.data.paths import path_of
from a2sg.devices import device_title
from a2sg.errors import InputError, require, told
from a2sg.files import write_json
from a2sg.ranks import Lost, by_first, leaders_first, of_first, rank_count
from a2sg.training.build import build_data
from a2sg.training.callbacks import (
    EpochSeed,
    EpochWeights,
    LossCurve,
    MetricsFile,
    RunProgress,
    TrainingClock,
    WindowsFile,
)
from a2sg.training.checkpoints import (
    CHECKPOINT,
    FOLDER,
    DurableCheckpoints,
    epoch_checkpoint,
    has_checkpoint,
    kept_epochs,
    newest_checkpoint,
    read_checkpoint,
    resuming,
)
from a2sg.training.config import RunConfig
from a2sg.training.evaluate import evaluate
from a2sg.training.folders import CONFIG, SUMMARY, opened, read_run_config, unwritable
from a2sg.training.graphs import wanted
from a2sg.training.midway import Saver, Stopped, read_every
from a2sg.training.parallel import devices_of, require_divisible, rule
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import full_disks_told, make_trainer, slow_halves
from a2sg.training.world import PATIENCE, World, find_place, joined

__all__ = [
    "Interrupted",
    "SpikingTask",
    "kept_epochs",
    "load_run",
    "load_weights",
    "read_run_config",
    "train",
]

log = logging.getLogger("a2sg")


class Interrupted(Exception):
    """Training was stopped, by Ctrl-C or by a signal; its run folder can be resumed.

    Attributes:
        saved: whether it was saved first, as it is if a signal stops it.
        status: exit status of a command.
    """

    def __init__(self, out: str, number: int = signal.SIGINT) -> None:
        super().__init__(out)
        self.saved = number != signal.SIGINT
        self.status = 128 + number


def train(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """Train a run, alone or as one of the ranks that torchrun or srun started.

    Args:
        config: the run.
        out: its folder: new or empty, or with `resume` the folder of the same run. With several ranks, rank
            0's counts, and only rank 0 writes.
        resume: continue from the folder's checkpoint; from the beginning if it has none yet.
        quiet: no progress bar.
        patience: seconds that a rank waits for the others.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        InputError: for a description that does not work, or a folder that cannot be read, written or resumed.
        Interrupted: on Ctrl-C.
        Lost: if another rank has ended, or has not answered for that long.
    """
    world = World.here()
    device = find_place(config.device, world)
    require_divisible(config, world.size)
    out = Path(out)
    with going_on(out), joined(world, device, patience):
        return _train(config, of_first(out), _Place(world, device, patience), resume, quiet or world.rank > 0)


@contextmanager
def going_on(out: Path) -> Iterator[None]:
    """If a rank is lost, say how to resume the run in `out`, unless it had not begun."""
    try:
        yield
    except Lost as lost:
        if not (out / CONFIG).is_file():
            raise
        raise Lost(f"{lost}; continue with: {resuming(out)}") from lost


class _Place(NamedTuple):
    """The place where a run is trained: folder, device and rank."""

    world: World
    device: torch.device
    patience: float


def _train(config: RunConfig, out: Path, place: _Place, resume: bool, quiet: bool) -> dict[str, Any]:
    """Build the parts of a run, and train it in its folder."""
    world, device, _ = place
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task = SpikingTask(config, leaders_first(lambda: build_data(config), world.local_rank == 0))
    wanted(config.graphs, task.graphs_obstacle(device, world.size))
    if world.rank == 0 and config.precision != "32" and (why := slow_halves(device)):
        log.warning("precision: %s is slow here: %s; --precision 32 is faster", config.precision, why)
    say = Console(stderr=True, quiet=quiet).print
    if config.model.weights is not None and not (resume and has_checkpoint(out)):
        taken = take_weights(task.model, path_of(config.model.weights, "model.weights"))
        say(f"{taken} from {config.model.weights}", markup=False, highlight=False)
    if world.size > 1:
        say(rule(config, world.size), markup=False, highlight=False)
    with ExitStack() as folder:
        holding = opened(config, out, resume=resume, begun=lambda: task.begun)
        checkpoint = by_first(lambda: folder.enter_context(holding))
        return _fit(task, out, place, checkpoint, quiet)


def _fit(task: SpikingTask, out: Path, place: _Place, checkpoint: Path | None, quiet: bool) -> dict[str, Any]:
    """Train in an open folder, from a checkpoint if there is one."""
    config, device = task.config, place.device
    clock = TrainingClock()
    callbacks: list[pl.Callback] = [
        EpochSeed(config.seed),
        clock,
        MetricsFile(out / "metrics.csv", clock),
        WindowsFile(out / "windows.csv"),
        LossCurve(),
        ModelCheckpoint(
            out / FOLDER, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        ),
    ]
    if config.keep_every is not None:
        callbacks.append(EpochWeights(partial(epoch_checkpoint, out), config.keep_every))
    if not quiet:
        callbacks.append(
            RunProgress(Console(stderr=True), f"{config.recipe} {config.arm} seed {config.seed}")
        )
    trainer = make_trainer(
        config,
        device,
        max_epochs=config.epochs,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        plugins=[DurableCheckpoints()],
        default_root_dir=out,
        **devices_of(*place),
    )
    saver = Saver(read_every(config.save_every), out / CHECKPOINT)
    task.saver = saver
    try:
        with saver.listening(), full_disks_told():
            trainer.fit(task, ckpt_path=checkpoint, weights_only=True)  # no pickled objects
    except Stopped as stopped:
        raise Interrupted(str(out), stopped.number) from stopped
    except SystemExit as stopped:  # how Lightning ends after Ctrl-C
        raise Interrupted(str(out)) from stopped
    except OSError as error:
        raise unwritable(out, error, f"make room, then continue with {resuming(out)}") from error
    except Exception as error:
        if checkpoint is None or clock.began or isinstance(error, InputError):
            raise
        raise InputError(
            f"{checkpoint} does not match {out / CONFIG}: was one of them changed? ({type(error).__name__})"
        ) from error
    task.swap_average()  # for good
    if task.windows.silence and place.world.rank == 0:
        log.warning("windows were never set: %s", task.windows.silence)
    summary = of_first(summarize(task, device, clock.seconds))
    by_first(lambda: write_json(out / SUMMARY, summary))
    return summary


def summarize(task: SpikingTask, device: torch.device, seconds: float) -> dict[str, Any]:
    """The results of a finished run, as plain data."""
    config = task.config
    result = evaluate(task, device)
    searching = task.windows.seconds
    return {
        "recipe": config.recipe,
        "arm": config.arm,
        "seed": config.seed,
        "epochs": config.epochs,
        **result,
        "seconds": seconds,
        "search_seconds": searching,
        "search_share": searching / seconds if seconds > 0 else 0.0,
        "windows": {name: site.window.tolist() for name, site in task.windows.sites.items()},
        "kept_windows": dict(task.windows.kept),
        "search_silence": task.windows.silence,
        "skipped_steps": task.guard.skipped,
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "device": device_title(device),
        "devices": rank_count(),
        "date": date.today().isoformat(),
        "versions": {"a2sg": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def load_run(
    folder: str | Path, *, at: RunConfig | None = None, data: ImageData | None = None
) -> SpikingTask:
    """The trained network of a run folder, with its data.

    Args:
        folder: of the run.
        at: its description with another T; None is the run's own.
        data: its data set, if it is already loaded.

    Raises:
        InputError: if the folder is not a run, or its checkpoint cannot be read or does not fit.
    """
    folder = Path(folder)
    config = read_run_config(folder) if at is None else at
    task = SpikingTask(config, build_data(config) if data is None else data)
    load_weights(task, folder, search=at is None)
    return task


def load_weights(task: SpikingTask, folder: Path, epoch: int | None = None, *, search: bool = True) -> None:
    """Load weights and windows of a run into its network, for analysis: no search observes it.

    Args:
        task: the run's, as `load_run` gives it.
        folder: its folder.
        epoch: one of `kept_epochs`; None is the end of training.
        search: whether to load the state of the search too, which fits only the run's own T.

    Raises:
        InputError: if there is no such checkpoint, or it cannot be read or does not fit.
    """
    if epoch is None:
        path = _newest(folder, f"train it with {resuming(folder)}")
    else:
        path = epoch_checkpoint(folder, epoch)
        kept = kept_epochs(folder) or "none"
        require(path.is_file(), f"{folder} kept no weights after epoch {epoch}: it has {kept}")
    state = read_checkpoint(path)
    with told(f"{path} does not match {folder / CONFIG}: was one of them changed?"):
        task.load_state_dict(state["state_dict"])
        if search:
            task.on_load_checkpoint(state)
    for site in task.windows.sites.values():
        site.observer = None  # it may have been set for the next training iteration


def take_weights(model: nn.Module, folder: Path) -> str:
    """Copy the trained weights of another run with matching names and shapes into `model`; windows stay.

    Returns:
        How many were copied, in words.

    Raises:
        InputError: if the folder is not a run, its checkpoint cannot be read, or nothing in it fits.
    """
    read_run_config(folder)
    path = _newest(folder, "model.weights are those of a trained run")
    with told(f"model.weights: {path} holds something other than weights"):
        trained = {
            name.removeprefix("model."): torch.as_tensor(value)
            for name, value in read_checkpoint(path)["state_dict"].items()
            if name.startswith("model.")
        }
    own = {name: value for name, value in model.state_dict().items() if name.rpartition(".")[2] != "window"}
    fitting = {
        name: trained[name]
        for name, value in own.items()
        if name in trained and trained[name].shape == value.shape
    }
    require(
        any(value.dim() > 0 for value in fitting.values()),  # batch counters fit everywhere
        f"model.weights: no weights of {folder} have the names and shapes of this network's",
    )
    model.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(own)} weights and statistics"


def _newest(folder: Path, hint: str) -> Path:
    path = newest_checkpoint(folder)
    if path is None:
        raise InputError(f"{folder} has no {CHECKPOINT} yet: {hint}")
    return path
