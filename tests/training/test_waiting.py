"""No ordinary iteration of a training makes the host wait for the device."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from a2sg.data.scenes import ArrayScenes
from a2sg.data.sets import IGNORE, ArrayImages, ImageData
from a2sg.training.build import build_data, build_optimizer
from a2sg.training.callbacks import EpochSeed, LossCurve, RunProgress
from a2sg.training.recipe import load_recipe
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import make_trainer
from waits import Waits, Watched

pytest.importorskip("kornia", reason="needs a2sg[train]")

EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "randaugment": 2,
    "erasing": 0.5,
    "cutmix": 0.5,
    "mixup": 0.2,
}
RUNS = {
    "digits": {},
    "digits-events": {"augment.nda": True, "augment.erasing": 0.5, "augment.cutmix": 1.0},
    "digits-scenes": {"augment.scenes": True, "data.batch_size": 8},
    "cifar10-resnet19": {
        "model.options.width": 0.05,
        "data.batch_size": 6,
        **{f"augment.{name}": value for name, value in EVERYTHING.items()},
        "optimizer.clip_norm": 1.0,
        "accumulate": 2,
    },
    "sgd": {"optimizer.name": "sgd", "optimizer.schedule": "poly", "loss.name": "tet"},
    "regularizers": {"loss.regularizers": {"im": 1e-3, "rmp": 5e-4}},
}


ON_HOST = (
    "a2sg/kernels/function.py",  # neurons look for NaN on a CPU alone
    "a2sg/data/draws.py",  # sends its numbers from pinned memory
    "torch/optim/adam.py",  # it counts its steps in tensors that lie on the host, for a GPU too
)
"""What an iteration on a CPU asks for, and one on a GPU does not, or of the host alone."""


def run_of(name, **overrides):
    recipe = name if name.startswith(("digits", "cifar")) else "digits"
    values = {"epochs": 1, "data.batch_size": 16, "windows.every": 1000, **RUNS[name], **overrides}
    return load_recipe(recipe, values)


def scenes():
    """Stand-ins for CamVid."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (100, 3, 20, 20), dtype=np.uint8)
    split = ArrayScenes(images, np.where(random.random((100, 20, 20)) < 0.1, IGNORE, 3).astype(np.int16))
    return replace(pictures(), train=split, test=split, shape=(3, 20, 20), task="segmentation")


def pictures():
    """Stand-ins for CIFAR-10."""
    random = np.random.default_rng(0)
    split = ArrayImages(random.integers(0, 256, (100, 3, 32, 32), dtype=np.uint8), np.arange(100) % 10)
    names = tuple("0123456789")
    return ImageData(
        train=split,
        test=split,
        classes=names,
        shape=(3, 32, 32),
        description="noise",
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )


def fit(config, callback, tmp_path):
    stand_in = {"cifar10": pictures, "digits_scenes": scenes}.get(config.data.name)
    data = build_data(config) if stand_in is None else stand_in()
    task = SpikingTask(config, data)
    task.most_ahead = 2
    trainer = make_trainer(
        config,
        torch.device(config.device),
        max_epochs=1,
        limit_train_batches=10,
        limit_val_batches=1,
        callbacks=[EpochSeed(0), LossCurve(every=2), RunProgress(Console(quiet=True), "run"), callback],
        logger=TensorBoardLogger(tmp_path, name="", version="tensorboard"),
        enable_checkpointing=False,
    )
    trainer.fit(task)
    assert callback.done == 1


@pytest.mark.parametrize("name", RUNS)
def test_an_ordinary_iteration_asks_the_device_for_nothing(name, tmp_path, monkeypatch):
    for module in ("training.task", "training.losses", "guard.buffers", "guard.skip", "guard.tally"):
        monkeypatch.setattr(f"a2sg.{module}.answers_at_once", lambda device: False)
    monkeypatch.setattr(
        "a2sg.training.task.build_optimizer",
        lambda config, model, **_: build_optimizer(config, model, fused=True),
    )
    waits = Waits(ON_HOST)
    fit(run_of(name, device="cpu"), Watched(lambda: waits), tmp_path)
    assert waits.found == []


def test_the_watch_finds_what_waits(tmp_path, monkeypatch):
    """On a CPU every loss is looked at: the same run, as it is there."""
    waits = Waits(ON_HOST)
    fit(run_of("digits", device="cpu"), Watched(lambda: waits), tmp_path)
    assert any("_local_scalar_dense" in line and "guard/skip.py" in line for line in waits.found)


@contextmanager
def erring():
    """Where CUDA raises an error in place of waiting."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", RUNS)
def test_an_ordinary_iteration_does_not_wait_for_a_gpu(name, precision, tmp_path):
    fit(run_of(name, device="cuda", precision=precision), Watched(erring), tmp_path)
