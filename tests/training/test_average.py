"""The moving average of weights: its formula, where it is used, and that a resumed run goes on with it."""

import json

import pytest
import torch
from torch import nn

from a2sg.errors import InputError
from a2sg.training.average import WeightAverage
from a2sg.training.evaluate import evaluate
from a2sg.training.recipe import load_recipe
from a2sg.training.run import CHECKPOINT, epoch_checkpoint, load_run, read_checkpoint, train
from interruption import interrupted
from saved import metrics, timeless

CPU = torch.device("cpu")


def quick(**overrides):
    small = {"model.options.width": 0.25, "data.batch_size": 128, "windows.every": 4}
    small |= {"optimizer.schedule": "onecycle", "augment.cutout": 3, "augment.erasing": 0.5}
    return load_recipe("digits", {"epochs": 3, "optimizer.average": 0.9, **small, **overrides})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(quick(keep_every=1), out, quiet=True)


def test_it_is_the_average_by_its_formula():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.5, without=[model[1].running_var])
    expected = None
    for step in range(12):
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.normal_()
        now = {name: value.double().clone() for name, value in model.state_dict().items()}
        kept = 0.0 if expected is None else min(0.5, (1 + step) / (10 + step))
        expected = {name: kept * (expected or now)[name] + (1 - kept) * value for name, value in now.items()}
        average.update()
    average.swap()
    for name, value in model.state_dict().items():
        wanted = now if name in ("1.running_var", "1.num_batches_tracked") else expected
        torch.testing.assert_close(value.double(), wanted[name], atol=1e-6, rtol=1e-6)
    average.swap()
    for name, value in model.state_dict().items():
        assert torch.equal(value.double(), now[name])


def test_before_the_first_step_nothing_is_exchanged():
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    WeightAverage(model, 0.9, without=[]).swap()
    assert torch.equal(model.weight, before)


def test_the_average_is_tested_and_kept(whole):
    out, summary = whole
    *_, last = metrics(out)
    assert float(last.split(",")[-1]) == pytest.approx(summary["accuracy"], abs=1e-6)
    task = load_run(out)
    found = evaluate(task, CPU)
    assert {name: summary[name] for name in found} == found
    checkpoint = read_checkpoint(out / CHECKPOINT)
    name = "head.layer.weight"
    assert torch.equal(task.model.state_dict()[name], checkpoint["state_dict"][f"model.{name}"])
    assert not torch.equal(checkpoint["current_weights"][name], checkpoint["state_dict"][f"model.{name}"])
    kept = read_checkpoint(epoch_checkpoint(out, 3))
    assert "current_weights" not in kept
    assert torch.equal(kept["state_dict"][f"model.{name}"], checkpoint["state_dict"][f"model.{name}"])


def test_windows_are_those_that_were_found(whole):
    out, summary = whole
    rows = [line.split(",") for line in (out / "windows.csv").read_text(encoding="utf-8").splitlines()[1:]]
    last = {(layer, int(step)): float(window) for _, layer, step, window, *_ in rows}
    for layer, windows in summary["windows"].items():
        assert windows == pytest.approx([last[layer, step] for step in (1, 2, 3, 4)])


def test_training_itself_is_the_same_without_it(whole, tmp_path):
    train(quick(**{"optimizer.average": None}), tmp_path / "run", quiet=True)
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(whole[0]), strict=True):
        assert mine.split(",")[:5] == theirs.split(",")[:5]
    mine = read_checkpoint(tmp_path / "run" / CHECKPOINT)
    theirs = read_checkpoint(whole[0] / CHECKPOINT)
    for name, value in theirs["current_weights"].items():
        assert torch.equal(mine["state_dict"][f"model.{name}"], value)


def test_a_resumed_run_goes_on_with_it(whole, tmp_path):
    out, summary = whole
    interrupted(quick(keep_every=1), tmp_path / "part", 2)
    resumed = train(quick(keep_every=1), tmp_path / "part", resume=True, quiet=True)
    assert timeless(resumed) == timeless(summary)
    assert metrics(tmp_path / "part") == metrics(out)
    mine, theirs = read_checkpoint(tmp_path / "part" / CHECKPOINT), read_checkpoint(out / CHECKPOINT)
    for name, value in theirs["state_dict"].items():
        assert torch.equal(mine["state_dict"][name], value), name
    for name, value in theirs["current_weights"].items():
        assert torch.equal(mine["current_weights"][name], value), name
    (tmp_path / "part" / "summary.json").unlink()
    again = train(quick(keep_every=1), tmp_path / "part", resume=True, quiet=True)  # nothing is left to do
    assert again["accuracy"] == summary["accuracy"]
    assert json.loads((tmp_path / "part" / "summary.json").read_text(encoding="utf-8")) == again


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, float("nan")])
def test_a_decay_out_of_range_is_told(decay):
    with pytest.raises(InputError, match=r"optimizer\.average"):
        quick(**{"optimizer.average": decay})
