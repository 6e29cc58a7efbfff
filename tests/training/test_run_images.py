"""Training on images: recipes start, augmentation stays in training, and a resumed run draws the same."""

import csv

import numpy as np
import pytest
import torch

from a2sg import cli
from a2sg.data import create_data
from a2sg.errors import InputError
from a2sg.training.checkpoints import CHECKPOINT, read_checkpoint
from a2sg.training.evaluate import evaluate
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from interruption import interrupted
from layouts import write_idx, write_tree

pytest.importorskip("kornia", reason="needs a2sg[train]")

EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "randaugment": 2,
    "erasing": 0.5,
    "cutmix": 0.5,
    "mixup": 0.2,
    "mix_until_epoch": 2,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))


SOURCES = {
    "cifar10-quick": lambda root: write_tree(root / "data", 32),
    "fashion-quick": lambda root: write_idx(root / "data"),
}


def tiny(recipe, source, **overrides):
    values = {
        "data.options.source": str(source),
        "model.options.width": 0.125,
        "epochs": 1,
        "windows.every": 2,
        "data.batch_size": 10,
    }
    return load_recipe(recipe, values | overrides)


@pytest.mark.parametrize("recipe", sorted(SOURCES))
def test_a_recipe_starts_with_its_own_loader(tmp_path, recipe):
    source = SOURCES[recipe](tmp_path)
    summary = train(tiny(recipe, source), tmp_path / "run", quiet=True)
    assert summary["samples"] == 30
    assert 0 <= summary["accuracy"] <= 1
    with (tmp_path / "run" / "metrics.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["test_accuracy"]) == pytest.approx(summary["accuracy"], abs=1e-6)
    assert float(row["test_loss"]) == pytest.approx(summary["loss"], rel=1e-5)


def resumable(tmp_path, **overrides):
    """A run of four epochs with every augmentation, two of them with mixed labels."""
    options = {f"augment.{name}": value for name, value in EVERYTHING.items()}
    return tiny("cifar10-quick", tmp_path / "data", epochs=4, **options, **overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"data.name": "imagenet", "data.options": {"image_size": 16}, "data.workers": 1},
    ],
    ids=["in memory", "views from a worker"],
)
def test_an_interrupted_run_draws_the_same_augmentation(tmp_path, overrides):
    splits = ("train", "val") if overrides else ("train", "test")
    write_tree(tmp_path / "data", 20 if overrides else 32, classes=4, each=5, splits=splits)
    if overrides:
        overrides["data.options"]["source"] = str(tmp_path / "data")
    else:
        overrides = {"data.name": "image_folder", "data.options": {"source": str(tmp_path / "data")}}
    config = resumable(tmp_path, **overrides)
    whole = train(config, tmp_path / "whole", quiet=True)
    interrupted(config, tmp_path / "part", 2)
    part = train(config, tmp_path / "part", resume=True, quiet=True)
    assert part["loss"] == whole["loss"]
    weights = [read_checkpoint(tmp_path / name / CHECKPOINT)["state_dict"] for name in ("whole", "part")]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value), name


def test_evaluation_sees_the_images_as_they_are(tmp_path):
    source = write_tree(tmp_path / "data", 32)
    options = {f"augment.{name}": value for name, value in EVERYTHING.items()}
    train(tiny("cifar10-quick", source, **options), tmp_path / "run", quiet=True)
    task = load_run(tmp_path / "run")
    seen = []
    task.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    evaluate(task, torch.device("cpu"))
    data = create_data("cifar10", source=str(source))
    images = data.test.images.double() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    torch.testing.assert_close(torch.cat(seen).double(), (images - mean) / std, atol=1e-5, rtol=0)


def test_mixed_precision_trains_with_everything(tmp_path):
    source = write_tree(tmp_path / "data", 32)
    options = {f"augment.{name}": value for name, value in EVERYTHING.items()}
    summary = train(tiny("cifar10-quick", source, precision="bf16", **options), tmp_path / "run", quiet=True)
    assert np.isfinite(summary["loss"])


def test_randaugment_of_what_has_no_pixels_is_told(tmp_path):
    with pytest.raises(InputError, match=r"'digits' has none"):
        train(load_recipe("digits", {"augment.randaugment": 1}), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_command_line_tells_of_a_hub_out_of_reach_in_one_line(tmp_path, monkeypatch, capsys):
    datasets = pytest.importorskip("datasets", reason="needs a2sg[train]")
    import huggingface_hub

    def fail(*_, **__):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert cli.main(["train", "cifar10-quick", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a2sg: error: cannot fetch 'uoft-cs/cifar10' from the Hugging Face hub")
    assert "there is no file or folder of that name: set data.options.source" in line
    assert not (tmp_path / "run").exists()
    missing = str(tmp_path / "nowhere" / "x.tar.gz")
    command = ["train", "cifar10-quick", "--data.options.source", missing, "--out", str(tmp_path / "run")]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"there is no {missing}" in line
