"""Runs whose numbers are not finite: skipped, counted and reported, or refused."""

import csv
import json

import numpy as np
import pytest
import torch

from a2sg import cli
from a2sg.data import ArrayImages, ImageData, register_data
from a2sg.data.sets import DATA
from a2sg.errors import InputError
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from interruption import interrupted
from saved import metrics, timeless

NAN = float("nan")


@pytest.fixture
def data():
    """A data set of 8 batches, one value of which can be any."""

    @register_data("broken")
    def broken(value: str = "0", split: str = "train"):
        images = np.random.default_rng(0).random((2, 64, 1, 8, 8), dtype=np.float32)
        images[int(split == "test"), 5, 0, 3, 3] = float(value)
        train, test = (ArrayImages(part, np.arange(64) % 4) for part in images)
        return ImageData(train=train, test=test, classes=tuple("abcd"), shape=(1, 8, 8), description="noise")

    yield
    DATA.pop("broken")


def run(value=0.0, split="train", **overrides):
    options = {"data.options": {"value": str(value), "split": split}}
    options |= {"windows.every": 3, "windows.start": 2}
    base = {"data.name": "broken", "data.batch_size": 8, "epochs": 2, "model.name": "vgg_small"}
    return load_recipe("digits", base | {"model.options.width": 0.125} | options | overrides)


def rows(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_broken_batch_is_skipped_counted_and_reported(data, tmp_path, capsys, precision):
    summary = train(run(1e30, precision=precision), tmp_path / "run")
    assert summary["skipped_steps"] == 2
    assert [row["skipped"] for row in rows(tmp_path / "run")] == ["1", "2"]
    assert all(np.isfinite(float(row["train_loss"])) for row in rows(tmp_path / "run"))
    assert "skipped 2" in capsys.readouterr().err
    for value in load_run(tmp_path / "run").state_dict().values():
        assert value.isfinite().all()


def test_counting_goes_on_after_an_interruption(data, tmp_path):
    config = run(1e30, accumulate=2)
    whole = train(config, tmp_path / "whole", quiet=True)
    interrupted(config, tmp_path / "run", epoch=2)
    resumed = train(config, tmp_path / "run", resume=True, quiet=True)
    assert timeless(resumed) == timeless(whole)
    assert whole["skipped_steps"] == 2
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_broken_data_are_refused_by_name(data, tmp_path, split, value):
    name = {"train": "training", "test": "test"}[split]
    with pytest.raises(InputError, match=f"the {name} samples of data set 'broken' hold NaN or infinity"):
        train(run(value, split), tmp_path / "run", quiet=True)


def test_too_many_in_a_row_end_the_run_in_one_line(data, tmp_path, capsys):
    options = ["--optimizer.lr", "1e30", "--optimizer.skips", "3", "--epochs", "9"]
    assert cli.main(["train", "digits", "--out", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("a2sg: error: 4 steps in a row were skipped")


def test_a_rule_that_looks_at_the_batch_again_keeps_what_it_has(data, tmp_path):
    policy = {
        "windows.policy": "dspike",
        "surrogate.name": "dspike",
        "surrogate.options": {},
        "windows.every": 1,
        "windows.start": 0,
    }
    summary = train(run(1e30, **policy), tmp_path / "run", quiet=True)
    assert summary["skipped_steps"] == 2
    assert sum(summary["kept_windows"].values()) == 2


def test_an_old_run_has_none(data, tmp_path):
    """Runs from before steps were counted are read, and gone on with."""
    folder = tmp_path / "run"
    train(run(epochs=1), folder, quiet=True)
    path = folder / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=False)
    del state["guard"]
    torch.save(state, path)
    assert load_run(folder).guard.skipped == 0
    assert "skipped_steps" in json.loads((folder / "summary.json").read_text(encoding="utf-8"))
