"""What is logged beside the files of a run; the others are tested with runs."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from a2sg.training.build import build_data
from a2sg.training.callbacks import LossCurve
from a2sg.training.recipe import load_recipe
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import make_trainer


class EveryLoss(pl.Callback):
    """Keeps the loss of every micro-batch."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.losses.append(pl_module.last_loss.item())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_curve_has_the_loss_of_every_so_many_steps(tmp_path, monkeypatch, accumulate):
    small = {"model.name": "mlp_small", "model.options": {}, "data.batch_size": 100, "accumulate": accumulate}
    config = load_recipe("digits", {"epochs": 2, **small})
    logged = []
    monkeypatch.setattr(CSVLogger, "log_metrics", lambda self, metrics, step: logged.append((metrics, step)))
    every = EveryLoss()
    trainer = make_trainer(
        config,
        torch.device("cpu"),
        max_epochs=2,
        callbacks=[LossCurve(every=3), every],
        logger=CSVLogger(tmp_path),
        enable_checkpointing=False,
    )
    trainer.fit(SpikingTask(config, build_data(config)))
    found = {step: metrics["train_loss_step"] for metrics, step in logged if "train_loss_step" in metrics}
    steps = 24 // accumulate
    assert list(found) == [step for step in range(1, steps + 1) if step % 3 == 0]
    for step, loss in found.items():
        assert loss == pytest.approx(every.losses[accumulate * step - 1])
