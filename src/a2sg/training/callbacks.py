"""Callbacks of the training: seeds, clocks, files and the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from a2sg.files import GrowingTable
from a2sg.training.task import SpikingTask
from a2sg.window.later import Later, Mail


class EpochSeed(pl.Callback):
    """Seeds every epoch from the run's seed and its number, so that a resumed run draws the same numbers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        mixed = torch.Generator().manual_seed(self.seed * 1_000_003 + trainer.current_epoch + 1)
        torch.manual_seed(int(torch.randint(2**62, (), generator=mixed)))


class TrainingClock(pl.Callback):
    """Seconds spent on training, without validation; continues counting after a resume."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.began = False
        """Whether training has started: what it resumes from was loaded."""
        self._start: float | None = None

    def state_dict(self) -> dict[str, Any]:
        running = 0.0 if self._start is None else time.perf_counter() - self._start
        return {"seconds": self.seconds + running}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True
        self._start = time.perf_counter()  # no epoch begins when resuming in the middle of one

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._start is not None
        self._start += time.perf_counter() - self._paused

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        assert self._start is not None
        self.seconds += time.perf_counter() - self._start
        self._start = None


class EpochWeights(pl.Callback):
    """Saves the weights at a fixed interval of epochs: a checkpoint without optimizer and schedule.

    Args:
        path: from an epoch, counted from 1, to its file.
        every: epochs from one file to the next.
    """

    def __init__(self, path: Callable[[int], Path], every: int) -> None:
        self.path = path
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            trainer.save_checkpoint(self.path(epoch), weights_only=True)


class MetricsFile(pl.Callback):
    """Writes metrics.csv, a row per epoch."""

    def __init__(self, path: Path, clock: TrainingClock) -> None:
        self.path = path
        self.clock = clock
        self.table: GrowingTable | None = None
        """The state on rank 0: the others write nothing."""
        self.before: list[dict[str, Any]] | int | None = None
        """The number of rows, which a checkpoint holds; an old one holds the rows themselves."""

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.table.sync() if self.table else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["rows"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not on_train_start, which a run that has no epoch left does not come to.
        assert isinstance(pl_module, SpikingTask)
        score = pl_module.score.name
        self.metrics = ("train_loss", f"train_{score}", "test_loss", f"test_{score}")
        if trainer.is_global_zero:
            self.table = GrowingTable(
                self.path, ("epoch", "iteration", "lr", "skipped", *self.metrics, "seconds")
            )
            self.table.resume(self.before)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SpikingTask)
        row = {
            "epoch": trainer.current_epoch + 1,
            "iteration": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "skipped": pl_module.guard.skipped,
            **{name: trainer.callback_metrics[name].item() for name in self.metrics},
            "seconds": round(self.clock.seconds, 3),
        }
        if self.table:
            self.table.append([row])


class LossCurve(pl.Callback):
    """Logs the loss at a fixed interval of optimizer steps, a few steps late: no step waits for its value.

    Args:
        every: steps from one loss to the next.
        together: number of losses that are copied from the device at once.
    """

    def __init__(self, every: int = 10, together: int = 100) -> None:
        self.every = every
        self.together = together
        self._kept: dict[int, torch.Tensor] = {}
        self._mail = Mail()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._steps = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SpikingTask)
        if trainer.global_step > self._steps:  # not on micro-batches that only accumulate
            self._steps = trainer.global_step
            if self._steps % self.every == 0:
                self._kept[self._steps] = pl_module.last_loss
                if len(self._kept) == self.together:
                    self._send(trainer)
                    self._mail.deliver()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._send(trainer)
        self._mail.deliver(wait=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.on_train_epoch_end(trainer, pl_module)  # a logged loss need not be saved

    def _send(self, trainer: pl.Trainer) -> None:
        if self._kept and trainer.logger is not None:
            losses = torch.stack(list(self._kept.values()))
            self._mail.send(Later(losses), partial(self._log, trainer.logger, list(self._kept)))
        self._kept = {}

    def _log(self, logger: Logger, steps: list[int], losses: torch.Tensor) -> None:
        for step, loss in zip(steps, losses.tolist(), strict=True):
            logger.log_metrics({"train_loss_step": loss}, step)
        logger.save()


class WindowsFile(pl.Callback):
    """Makes the windows write their history to windows.csv: a row per observed iteration, layer and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SpikingTask)
        if trainer.is_global_zero:  # a run that was killed before its first save starts again
            pl_module.windows.record(self.path, anew=True)


class RunProgress(pl.Callback):
    """One bar for the whole run; or an occasional line if the output is not a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}"),
            TextColumn("{task.fields[score]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.task = self.bar.add_task(
            self.title,
            total=int(trainer.estimated_stepping_batches),
            completed=trainer.global_step,
            epoch=f"{trainer.current_epoch}/{trainer.max_epochs}",
            score="",
        )
        if self.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.bar.update(
            self.task,
            completed=trainer.global_step,
            epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SpikingTask)
        loss = trainer.callback_metrics["train_loss"].item()
        value = trainer.callback_metrics[f"test_{pl_module.score.name}"].item()
        score = f"loss {loss:.3f}  test {value:.1%}"
        if pl_module.guard.skipped:
            score += f"  skipped {pl_module.guard.skipped}"
        self.bar.update(self.task, score=score)
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        if not self.console.is_terminal and (epoch % max(1, epochs // 5) == 0 or epoch == epochs):
            self.console.print(
                f"{self.title}  epoch {epoch}/{epochs}  {score}", markup=False, highlight=False
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()
