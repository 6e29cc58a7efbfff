"""One network, its loss and its windows, as Lightning trains them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from a2sg.data import ImageData
from a2sg.errors import InputError
from a2sg.neuron import Record, recording
from a2sg.training.build import build_model, build_optimizer, build_schedule, build_windows
from a2sg.training.config import RunConfig
from a2sg.training.losses import create_loss
from a2sg.training.regularizers import create_regularizers


class ClassificationTask(pl.LightningModule):
    """Image classification. The model gives logits `[T, B, classes]`.

    Args:
        config: the run.
        data: its data set.
    """

    def __init__(self, config: RunConfig, data: ImageData) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.model = build_model(config, data)
        self.windows = build_windows(config, self.model)
        self.loss = create_loss(config.loss.name, label_smoothing=config.loss.label_smoothing)
        self.regularizers = create_regularizers(config.loss.regularizers)
        classes = len(data.classes)
        self.train_loss, self.test_loss = MeanMetric(), MeanMetric()
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(classes, average="micro")
        self._optimizer_steps = 0

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        watch: AbstractContextManager[dict[str, list[Record]]] = nullcontext({})
        if self.regularizers:
            watch = recording(self.model)
        with watch as records:
            logits = self.model(images)
        loss = self.loss(logits, labels)
        total = loss
        for term in self.regularizers:
            total = total + term(records, self._progress())
        if total.device.type == "cpu":
            self._require_finite(total)
        self.train_loss(loss.detach(), len(labels))
        self.train_accuracy(self.loss.predict(logits), labels)
        self.log_dict({"train_loss": self.train_loss, "train_accuracy": self.train_accuracy}, on_epoch=True)
        return total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step > self._optimizer_steps:  # not on micro-batches that only accumulate
            self._optimizer_steps = self.trainer.global_step
            self.windows.step()

    def on_train_epoch_end(self) -> None:
        self._require_finite(self.train_loss.compute())

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        logits = self.model(images)
        self.test_loss(self.loss(logits, labels), len(labels))
        self.test_accuracy(self.loss.predict(logits), labels)
        self.log_dict({"test_loss": self.test_loss, "test_accuracy": self.test_accuracy}, on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.config.optimizer, self.model)
        schedule = build_schedule(
            self.config.optimizer, optimizer, int(self.trainer.estimated_stepping_batches), self.config.epochs
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        # Its order depends on seed and epoch alone, so a resumed run sees the same batches.
        sampler: DistributedSampler[Any] = DistributedSampler(
            self.data.train,
            num_replicas=self.trainer.world_size,
            rank=self.trainer.global_rank,
            seed=self.config.seed,
        )
        return self._loader(self.data.train, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.data.test)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["windows"] = self.windows.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.windows.load_state_dict(checkpoint["windows"])
        self._optimizer_steps = checkpoint["global_step"]

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.config.data.batch_size,
            num_workers=self.config.data.workers,
            persistent_workers=self.config.data.workers > 0,
            # Its own generator, so that opening a loader draws nothing from the global random state.
            generator=torch.Generator().manual_seed(self.config.seed),
            **options,
        )

    def _progress(self) -> float:
        return self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    def _require_finite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1} (iteration "
                f"{self.trainer.global_step}): lower optimizer.lr, or set optimizer.clip_norm"
            )
