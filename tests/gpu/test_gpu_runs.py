"""The commands on a card: a run, its resumption, and what looks at it."""

import csv
import json
import math

import pytest

from a2sg.cli import main
from a2sg.training.recipe import load_recipe
from a2sg.training.run import train
from interruption import interrupted

QUICK = {"epochs": 3, "windows.every": 7, "data.batch_size": 128}


def config(device, **overrides):
    return load_recipe("digits", {"device": device.type, **QUICK, **overrides})


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(device, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(config(device), out, quiet=True)


def test_a_run_learns_and_searches(run):
    out, summary = run
    assert summary["accuracy"] > 0.5
    assert {int(row["iteration"]) for row in rows(out / "windows.csv")} == {7, 14, 21, 28}
    assert any(row["window"] != row["window_before"] for row in rows(out / "windows.csv"))


def test_a_resumed_run_goes_on_as_the_whole_one(run, device, tmp_path):
    """A card adds up in any order, so figures agree, but not to the bit."""
    interrupted(config(device), tmp_path / "run", epoch=3)
    train(config(device), tmp_path / "run", resume=True, quiet=True)
    for mine, whole in zip(rows(tmp_path / "run" / "metrics.csv"), rows(run[0] / "metrics.csv"), strict=True):
        assert (mine["epoch"], mine["iteration"], mine["lr"]) == (
            whole["epoch"],
            whole["iteration"],
            whole["lr"],
        )
        assert float(mine["train_loss"]) == pytest.approx(float(whole["train_loss"]), abs=0.1)
        assert float(mine["test_accuracy"]) == pytest.approx(float(whole["test_accuracy"]), abs=0.1)


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_mixed_precision(precision, device, tmp_path):
    summary = train(config(device, precision=precision), tmp_path / "run", quiet=True)
    assert summary["accuracy"] > 0.5
    assert all(math.isfinite(float(row["train_loss"])) for row in rows(tmp_path / "run" / "metrics.csv"))


@pytest.mark.parametrize(("recipe", "score"), [("digits-scenes", "miou"), ("digits-events", "accuracy")])
def test_segmentation_and_events(recipe, score, device, tmp_path):
    overrides = {"device": device.type, "epochs": 1, "windows.every": 5}
    summary = train(load_recipe(recipe, overrides), tmp_path / "run", quiet=True)
    assert 0 < summary[score] <= 1


def test_evaluate_says_what_the_run_said(run, device, capsys):
    out, summary = run
    assert main(["evaluate", str(out), "--device", device.type]) == 0
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert found["accuracy"] == pytest.approx(summary["accuracy"], abs=0.003)
    assert found["spikes_per_sample"] == pytest.approx(summary["spikes_per_sample"], rel=1e-3)
    assert "accuracy" in capsys.readouterr().out


def test_inspect_and_analyze_say_what_they_say_on_the_cpu(run, device, tmp_path):
    out, _ = run
    found = []
    for where in ("cpu", device.type):
        folder = tmp_path / where
        assert main(["inspect", str(out), "--device", where, "--out", str(folder / "inspect")]) == 0
        words = ["--samples", "16", "--budget", "3", "--out", str(folder / "analyze")]
        assert main(["analyze", str(out), "--device", where, *words]) == 0
        found.append(json.loads((folder / "inspect" / "inspection.json").read_text(encoding="utf-8")))
    for mine, other in zip(*(one["layers"] for one in found), strict=True):
        for a, b in zip(mine["steps"], other["steps"], strict=True):
            assert b["firing_rate"] == pytest.approx(a["firing_rate"], rel=0.01, abs=1e-3)
            assert b["inside"] == pytest.approx(a["inside"], rel=0.01, abs=1e-3)


def test_compare(device, tmp_path):
    words = ["--arms", "fixed,a2sg", "--seeds", "0", "--epochs", "1", "--out", str(tmp_path / "c")]
    assert main(["compare", "digits", *words, "--device", device.type]) == 0
    done = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "c").rglob("summary.json")]
    assert sorted(summary["arm"] for summary in done) == ["a2sg", "fixed"]


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_gradients_are_clipped(precision, device, tmp_path):
    chosen = config(device, precision=precision, epochs=1, **{"optimizer.clip_norm": 1.0})
    assert train(chosen, tmp_path / "run", quiet=True)["accuracy"] > 0.3
