"""One network, its loss and its windows, as Lightning trains them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler, SequentialSampler
from torchmetrics import Metric

from a2sg.data import ImageData
from a2sg.data.draws import Changes
from a2sg.data.feed import Feed, Order
from a2sg.data.sets import DrawnImages, DrawSampler, ends_of
from a2sg.data.shares import Shares
from a2sg.data.standardize import Standardize, to_unit
from a2sg.devices import answers_at_once
from a2sg.errors import InputError, require_count
from a2sg.guard import StepGuard
from a2sg.kernels.broken import letting_through
from a2sg.memory import pack_spikes
from a2sg.neuron import Record, recording
from a2sg.neuron.whole import share_work
from a2sg.ranks import add_up, from_first, idling, rank, rank_count
from a2sg.score import SCORES
from a2sg.training.average import WeightAverage
from a2sg.training.batches import build_feed
from a2sg.training.build import (
    build_augment,
    build_loss,
    build_model,
    build_optimizer,
    build_schedule,
    build_windows,
)
from a2sg.training.checkpoints import require_restored
from a2sg.training.config import RunConfig
from a2sg.training.graphs import WARM_UP, GraphedStep, obstacle, wanted
from a2sg.training.losses import require_outputs
from a2sg.training.metrics import Mean, build_metric
from a2sg.training.midway import Saver, random_state, set_random_state
from a2sg.training.phases import AUGMENTATION
from a2sg.training.recorder import CudaRecorder
from a2sg.training.regularizers import create_regularizers
from a2sg.window import AdaptiveWindows


class SpikingTask(pl.LightningModule):
    """Classification, of images or of their pixels, or regression. The model gives `[T, B, classes, ...]`.

    Args:
        config: the run.
        data: its data set.
    """

    def __init__(self, config: RunConfig, data: ImageData) -> None:
        super().__init__()
        self.config = config
        self.data = data
        self.augment = build_augment(config, data)
        self.standardize = Standardize(data.mean, data.std)
        self.model = build_model(config, data)
        self.work = share_work(self.model)
        self.windows = build_windows(config, self.model)
        self.windows.reduction = "sum"  # a rank's loss is its part of the loss of a batch
        most = require_count("optimizer.skips", config.optimizer.skips, least=0)
        self.guard = StepGuard(self.model, self.windows, most=most)
        self.loss = build_loss(config, data)
        self.regularizers = create_regularizers(config.loss.regularizers)
        self.score = SCORES[data.task]
        self.train_loss, self.test_loss = Mean(), Mean()
        self.train_score, self.test_score = build_metric(data), build_metric(data)
        self.average: WeightAverage | None = None
        if config.optimizer.average is not None:
            windows = [buffer for site in self.windows.sites.values() for buffer in site.buffers()]
            self.average = WeightAverage(self.model, config.optimizer.average, without=windows)
        self.most_ahead = sys.maxsize
        self.saver: Saver | None = None
        self.graphed: GraphedStep | None = None
        self.graphs_after = WARM_UP
        self._optimizer_steps = self._epochs = 0
        self._losses_of_step: list[Tensor] = []
        self._part: Tensor | float = 1.0
        self._done = 0
        """Batches of an epoch that are done, when it is left or resumed in the middle."""
        self._random: dict[str, Any] | None = None

    @property
    def begun(self) -> bool:
        """Whether the optimizer has made a step."""
        return self._optimizer_steps > 0

    def graphs_obstacle(self, device: torch.device, ranks: int = 1) -> str:
        """Why training steps cannot be CUDA graphs; "" if no reason is known."""
        if self.data.padded:
            return "recordings end at different steps, which the search is told batch by batch"
        return obstacle(device, regularizers=bool(self.regularizers), ranks=ranks)

    def arrange(self, images: Tensor) -> Tensor:
        """Pixels as numbers from 0 to 1; recordings `[B, T, C, H, W]` with time first."""
        images = to_unit(images)
        return images if self.data.steps is None else images.transpose(0, 1)

    def lengths(self, images: Tensor) -> dict[str, Tensor]:
        """The lengths of recordings `[T, B, C, H, W]`, for losses; nothing if all have T steps."""
        return {"lengths": ends_of(images)} if self.data.padded else {}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        own = self.shares.part(index) > 0
        self._part = self._part_of_loss(labels, index)
        self.guard.require_finite(images, f"the training samples of data set {self.config.data.name!r}")
        if self.data.padded and isinstance(self.windows, AdaptiveWindows):
            self.windows.lengths = self.lengths(images)["lengths"]
        with self.guard:
            if self.graphed is None:
                with nullcontext() if own else self._idling():
                    logits, loss, total = self._losses(images, labels)
            else:
                logits, loss = self.graphed(images, labels)
                total = loss
        self._losses_of_step.append(total.detach())
        self.last_loss = loss.detach()
        if own:
            finite = self.last_loss.isfinite()  # the mean is that of the others
            self.train_loss.update(
                torch.where(finite, self.last_loss, 0.0), finite * self.loss.counted(labels)
            )
            predicted = self.loss.predict(logits, **self.lengths(images))
            self.train_score.update(predicted, self.loss.right(labels))
        self._log("train", index == self._done, self.train_loss, self.train_score)
        weight = self._part * self.shares.in_step(index, self.config.accumulate)
        return total if isinstance(weight, float) and weight == 1 else weight * total

    def _part_of_loss(self, labels: Tensor, index: int) -> Tensor | float:
        """The weight of this rank's loss in that of the whole batch; 0 if it has no samples of it."""
        part = self.shares.part(index)
        counted = self.loss.counted(labels)
        if isinstance(counted, int) or self.shares.ranks == 1:
            return part
        counted = counted if part else torch.zeros_like(counted)
        return counted / add_up(counted.clone()).clamp(min=torch.finfo(torch.float32).tiny)

    def _losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, their loss, and the loss with all terms added, which is minimised."""
        watch: AbstractContextManager[dict[str, list[Record]]] = nullcontext({})
        if self.regularizers:
            watch = recording(self.model)
        with watch as records, self._keeping(images.device):
            logits = self.model(images)
        if self.data.task != "regression":
            require_outputs(logits, len(self.data.classes))
        loss = self.loss(logits, labels, **self.lengths(images))
        total = loss
        for term in self.regularizers:
            total = total + term(records, self._progress())
        return logits, loss, total

    @contextmanager
    def _idling(self) -> Iterator[None]:
        """A context in which a rank without samples of a batch keeps in step with the others."""
        with self.windows.paused(), idling():
            yield

    def _keeping(self, device: torch.device) -> AbstractContextManager[object]:
        """A context in which tensors for the backward pass are saved according to the run's setting."""
        if self.config.memory == "plain":
            return nullcontext()
        # A graph of a step must not read values, which would wait for the GPU.
        return pack_spikes(search=answers_at_once(device))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        losses, self._losses_of_step = self._losses_of_step, []
        self.guard.check(optimizer, *losses)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own refuses a fused optimizer in bfloat16 too, where no gradient is scaled.
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step > self._optimizer_steps:  # not on micro-batches that only accumulate
            self._optimizer_steps = self.trainer.global_step
            # Outside mixed precision: its rounding would hide small differences between losses.
            with letting_through():  # a broken batch was skipped, and is not an error here either
                self.windows.step(lambda: self._part * self._losses(*batch)[2])
            if self.average is not None:
                self.average.update()
            if self.saver is not None:
                self.saver(self.trainer, batch_idx + 1, self.save_midway)

    def on_train_start(self) -> None:
        if self.trainer.ckpt_path is not None:
            for optimizer in self.trainer.optimizers:
                require_restored(optimizer, Path(self.trainer.ckpt_path))
        if wanted(self.config.graphs, self.graphs_obstacle(self.device, self.trainer.world_size)):
            self.graphed = GraphedStep(
                self.model,
                lambda *batch: self._losses(*batch)[:2],
                CudaRecorder(spare=self.config.graphs == "auto"),
                after=self.graphs_after,
            )
        if self.saver is not None:
            self.saver.listen()
        if self._random is not None:  # resumed in the middle of an epoch, which was seeded at its start
            set_random_state(self._random)
            self._random = None

    def on_train_end(self) -> None:
        self.graphed = None  # and its memory

    def on_train_epoch_end(self) -> None:
        self._done = 0
        if not torch.isfinite(self.train_loss.compute()):
            raise InputError(
                f"no step of epoch {self.current_epoch + 1} had a finite loss: lower optimizer.lr, or set "
                "optimizer.clip_norm"
            )

    def on_validation_start(self) -> None:
        self.swap_average()
        for buffer in self.model.buffers():
            from_first(buffer)  # as DDP does it before every training step

    def on_validation_end(self) -> None:
        self.swap_average()

    def swap_average(self) -> None:
        """If the run averages its weights, exchange them with their average."""
        if self.average is not None:
            self.average.swap()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        self.guard.require_finite(images, f"the test samples of data set {self.config.data.name!r}")
        logits = self.model(images)
        if self.shares_of(self.data.test).part(index):
            lengths = self.lengths(images)
            self.test_loss.update(self.loss(logits, labels, **lengths), self.loss.counted(labels))
            self.test_score.update(self.loss.predict(logits, **lengths), labels)
        self._log("test", index == 0, self.test_loss, self.test_score)

    def _log(self, split: str, first: bool, loss: Metric, score: Metric) -> None:
        """Log a split's loss and score at the end of the epoch."""
        if first:  # once is enough, and costs more than the rest of logging
            metrics = {f"{split}_loss": loss, f"{split}_{self.score.name}": score}
            self.log_dict(metrics, on_step=False, on_epoch=True)

    def optimizer(self, device: torch.device) -> torch.optim.Optimizer:
        """The run's optimizer, for a network on `device`."""
        # With float16, gradients to be clipped must be unscaled before: a fused optimizer does that itself.
        clips_scaled = self.config.precision == "16" and self.config.optimizer.clip_norm is not None
        fused = device.type == "cuda" and not clips_scaled
        return build_optimizer(self.config.optimizer, self.model, fused=fused)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.device)
        schedule = build_schedule(
            self.config.optimizer, optimizer, int(self.trainer.estimated_stepping_batches), self.config.epochs
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Feed:
        # Its order depends only on seed and epoch, so a resumed run sees the same batches.
        kind = DrawSampler if isinstance(self.data.train, DrawnImages) else DistributedSampler
        whole: DistributedSampler[Any] = kind(self.data.train, num_replicas=1, rank=0, seed=self.config.seed)
        order = Order(whole, self._done * self.config.data.batch_size)
        order.set_epoch(self._epochs)  # Lightning does so too, but after workers began to read ahead
        self.shares = self.shares_of(self.data.train)
        return self._feed(
            self.data.train,
            order,
            changes=Changes(self.augment, self.config.seed, self.data.shape[1:]),
            during=partial(self.trainer.profiler.profile, AUGMENTATION),  # type: ignore[attr-defined]
            done=self._done,
        )

    def val_dataloader(self) -> Feed:
        return self._feed(self.data.test, SequentialSampler(self.data.test))  # type: ignore[arg-type]

    def shares_of(self, data: Any) -> Shares:
        """How the batches of a split are divided among ranks."""
        return Shares(len(data), self.config.data.batch_size, rank(), rank_count())

    def save_midway(self, path: Path, batches: int) -> None:
        """Save in the middle of an epoch, with the number of batches that are done."""
        before, self._done = self._done, batches
        try:
            self.trainer.save_checkpoint(path)
        finally:
            self._done = before

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["windows"] = self.windows.state_dict()
        checkpoint["work_done"] = self.work.state_dict()
        checkpoint["guard"] = self.guard.state_dict()
        if self._done:  # all ranks save, and the first writes the joint counts of all
            self.windows.add_ranks_to(checkpoint["windows"])
            counted = {
                name: {
                    key: add_up(torch.as_tensor(value).clone()) for key, value in metric.metric_state.items()
                }
                for name, metric in self._metrics().items()
            }
            checkpoint["midway"] = {"batches": self._done, "counted": counted, "random": random_state()}
        if self.average is not None:
            self.average.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.windows.load_state_dict(checkpoint["windows"])
        if rank() > 0:
            self.windows.store.clear()  # the first one has the sums of all
        self.work.load_state_dict(checkpoint.get("work_done", {}))
        self.guard.load_state_dict(checkpoint.get("guard", {}))
        self._optimizer_steps = checkpoint["global_step"]
        midway = checkpoint.get("midway")
        self._epochs = checkpoint["epoch"] + (midway is None)
        if midway is not None:
            self._done, self._random = midway["batches"], midway["random"]
            if rank() == 0:
                for name, metric in self._metrics().items():
                    metric.load_state_dict(midway["counted"][name])
        if self.average is not None:
            self.average.load(checkpoint)

    def _metrics(self) -> dict[str, Metric]:
        return {"loss": self.train_loss, "score": self.train_score}

    def _feed(self, split: Any, order: Sampler[Any], **options: Any) -> Feed:
        return build_feed(
            self.config,
            self.data,
            split,
            order,
            self.device,
            shares=self.shares_of(split),
            standardize=self.standardize,
            most_ahead=self.most_ahead,
            **options,
        )

    def _progress(self) -> float:
        return self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))
