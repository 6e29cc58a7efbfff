"""Every recipe starts: its own loader, data in their real format and size, a search of windows, a summary."""

import csv

import numpy as np
import pytest
import torch

from a2sg.data.sets import ImageData
from a2sg.training.build import build_data
from a2sg.training.recipe import load_recipe, recipes
from a2sg.training.run import train
from a2sg.training.task import SpikingTask
from a2sg.training.trainer import make_trainer
from layouts import (
    write_ade20k,
    write_arrays,
    write_camvid,
    write_cifar10_dvs,
    write_gesture,
    write_idx,
    write_nmnist,
    write_spoken,
    write_tree,
    zipped,
)

pytest.importorskip("kornia", reason="needs a2sg[train]")


def cifar(classes):
    return lambda root: write_tree(root, 32, classes, each=1)


def imagenet(root):
    return write_tree(root, 256, classes=2, each=1, splits=("train", "val"), suffix="JPEG")


def inside(write, *arguments):
    """A writer of recordings into a folder of their own, below the source."""
    return lambda root: (write(root, *arguments), root)[1]


def tactile(root):
    write_arrays(root, shape=(39, 2, 250), labels=range(36))
    return zipped(root, root / "Ev-Objects.zip")


EMBEDDED = ("digits", "digits-events", "digits-scenes")
SOURCES = {
    "ade20k": lambda root: write_ade20k(root, size=(500, 400)),
    "camvid": lambda root: write_camvid(root, count=2, size=(360, 480)),
    "cifar10": cifar(10),
    "cifar100": cifar(100),
    "cifar10_dvs": inside(write_cifar10_dvs, (0, 900)),
    "dvs_gesture": inside(write_gesture),
    "fashion_mnist": write_idx,
    "imagenet": imagenet,
    "nmnist": inside(write_nmnist),
    "shd": inside(write_spoken, "shd", 20),
    "tactile": tactile,
}
"""How the data of a recipe are written, by the name of the data set."""

SMALL = {
    "vgg": {"width": 0.06},
    "resnet": {"width": 0.06},
    "ms_resnet": {"width": 0.06},
    "fcn": {"width": 0.25},
    "mlp": {"hidden": [16]},
    "spikformer": {"dim": 32, "depth": 1, "heads": 2},
    "qkformer": {"dim": 32, "depth": 3, "heads": 2},
    "espikeformer": {"dims": [8, 16, 16, 16], "depths": [1, 1], "heads": 2},
}
"""Options that make a network small, by how its name begins."""
LESS = {
    "ade20k": {"data.batch_size": 1, "data.options.image_size": 96},
    "camvid": {"data.batch_size": 1, "data.options.image_size": [90, 120]},
    "cifar100": {"data.options.limit": 10},
    "imagenet": {"data.batch_size": 1},
    "tactile": {"data.batch_size": 18},
}
"""Options for two small batches or more of what is written; else batches of 5."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))


def with_data(recipe, root, **overrides):
    """The recipe, with stand-in data written below `root`."""
    config = load_recipe(recipe)
    values = {"epochs": 1, "data.workers": 0, "windows.every": 1, "device": "cpu", **overrides}
    if recipe not in EMBEDDED:
        if config.data.name in ("cifar10_dvs", "dvs_gesture", "nmnist"):
            pytest.importorskip("tonic", reason="needs a2sg[events]")
        if config.data.name == "cifar10_dvs":
            pytest.importorskip("aedat", reason="needs a2sg[events]")
        values["data.options.source"] = str(SOURCES[config.data.name](root / "data"))
    return load_recipe(recipe, values)


def small(recipe):
    """Options for a small network of the recipe's kind."""
    name = load_recipe(recipe).model.name
    chosen = max((start for start in SMALL if name.startswith(start)), key=len)
    options = SMALL[chosen] | ({"width": 8} if name.endswith("_fpn") else {})
    return {f"model.options.{option}": value for option, value in options.items()}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Embedded data sets with 10 samples a split."""

    def shortened(config):
        data = build_data(config)
        if config.recipe not in EMBEDDED:
            return data
        parts = {name: torch.utils.data.Subset(getattr(data, name), range(10)) for name in ("train", "test")}
        return ImageData(**{**vars(data), **parts})

    monkeypatch.setattr("a2sg.training.run.build_data", shortened)


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_recipe_starts(recipe, tmp_path):
    less = {"data.batch_size": 5, "accumulate": 1, "windows.candidates": 10}
    less |= LESS.get(load_recipe(recipe).data.name, {}) | small(recipe)
    config = with_data(recipe, tmp_path, **less)
    summary = train(config, tmp_path / "run", quiet=True)
    assert np.isfinite(summary["loss"])
    assert summary["energy_nj_per_sample"] > 0
    with (tmp_path / "run" / "windows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {row["kept"] for row in rows} <= {"", "all zero"}  # of some neurons that few samples reach
    windows = [window for row in summary["windows"].values() for window in row]
    assert len(summary["windows"]) * config.model.steps == len(windows)
    low = min(config.windows.low, config.surrogate.window)
    assert all(low <= window <= config.windows.high + 1e-6 for window in windows)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in sorted(recipes()) if name not in EMBEDDED])
def test_a_recipe_starts_at_full_size(recipe, tmp_path):
    """The recipe's own network and size of images, two samples in a batch, one iteration."""
    config = with_data(
        recipe, tmp_path, **{"data.batch_size": 2, "windows.start": 0, "windows.candidates": 10}
    )
    task = SpikingTask(config, build_data(config))
    make_trainer(
        config,
        torch.device("cpu"),
        max_steps=1,
        limit_train_batches=config.accumulate,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
    ).fit(task)
    assert len(task.windows.history) == len(task.windows.sites) * config.model.steps
    assert all(p.isfinite().all() for p in task.model.parameters())


def test_every_layout_is_that_of_a_recipe():
    assert {load_recipe(name).data.name for name in recipes() if name not in EMBEDDED} == SOURCES.keys()


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_recipe_says_where_its_data_and_method_come_from(recipe):
    first, *comment = (
        line for line in recipes()[recipe].read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )
    assert len(first) <= 114  # a line of `a2sg list recipes`
    text = " ".join(line.removeprefix("# ") for line in comment)
    assert "paper" in text
    assert "hat differs" in text or "are ours" in text
    assert recipe in EMBEDDED or "--data.options.source" in text
