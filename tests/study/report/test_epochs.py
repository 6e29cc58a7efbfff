"""`a2sg analyze` over epochs: numbers are those of the weights that were kept, and the run is given back."""

import csv
import json
import shutil
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

import a2sg
from a2sg import analysis
from a2sg.errors import InputError
from a2sg.study.report.cases import Options, open_study, spread
from a2sg.study.report.epochs import MOST, snapshots
from a2sg.study.report.landscape import FORWARD, POINTS, landscape
from a2sg.study.report.prediction import _groupings
from a2sg.study.subject import training_batches
from a2sg.training.arms import parse_arm
from a2sg.training.checkpoints import epoch_checkpoint
from a2sg.training.compare import compare
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, load_weights

SAMPLES, BATCH = 8, 16
EPOCHS = 3


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two arms of a small dense network that keep their weights."""
    out = tmp_path_factory.mktemp("runs") / "comparison"
    network = {"model.name": "mlp_small", "model.steps": 2, "model.options": {"hidden": [8, 8]}}
    config = load_recipe("digits", {"epochs": EPOCHS, "keep_every": 1, "windows.every": 5, **network})
    compare(config, [parse_arm("fixed"), parse_arm("a2sg")], [0], out)
    return out


@pytest.fixture(scope="module")
def study(comparison):
    return open_study([comparison], Options(SAMPLES, BATCH, seed=3), torch.device("cpu"), False)


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysis") / "report"
    a2sg.analyze(comparison, only=["theory"], samples=SAMPLES, batch_size=BATCH, seed=3).save(out)
    return out


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_are_those_of_the_kept_weights(written, comparison):
    task = load_run(comparison / "a2sg-s0")
    batch = next(training_batches(task.data, SAMPLES, 3))
    rows = [row for row in rows_of(written / "theory-epochs.csv") if row["run"] == "a2sg, seed 0"]
    points = [row for row in rows_of(written / "theory-prediction.csv") if row["run"] == "a2sg, seed 0"]
    assert {int(row["epoch"]) for row in rows} == {int(row["epoch"]) for row in points} == {1, 2, 3}
    seen = set()
    for epoch in (1, 2, 3):
        load_weights(task, comparison / "a2sg-s0", epoch)
        objective = analysis.Objective(task.model.eval(), batch, task.loss, samples_dim=0)
        fisher = analysis.empirical_fisher(objective)
        for row in rows:
            if int(row["epoch"]) == epoch:
                direct = fisher.whole if row["layer"] == "whole" else fisher.layers[row["weights"]]
                assert float(row["largest"]) == pytest.approx(direct.top[0])
                assert float(row["trace"]) == pytest.approx(direct.trace)
        of_epoch = [row for row in points if int(row["epoch"]) == epoch]
        batches = islice(training_batches(task.data, BATCH, 4), 8)
        steps = analysis.batch_variation(task.model.train(), batches, task.loss).steps
        assert len(of_epoch) == len(steps) == 4
        for row, step in zip(of_epoch, steps, strict=True):
            assert (row["layer"], int(row["step"])) == (step.layer, step.step)
            assert float(row["cv"]) == pytest.approx(step.cv.mean)
            assert float(row["lambda"]) == pytest.approx(fisher.layers[row["weights"]].top[0])
        seen.add(fisher.whole.top[0])
    assert len(seen) == EPOCHS


def test_the_tables_tell_epochs_apart(written):
    found = json.loads((written / "analysis.json").read_text(encoding="utf-8"))["parts"]["theory"]["found"]
    for column in ("SGV", "CV of δ"):
        pooled = found["correlate"][f"{column} and λmax(F), all points"]
        assert pooled["points"] == 2 * EPOCHS * 4
        assert pooled["clusters"] == 2 * 2  # layers of two runs, as these are few
        for name, within in (
            ("within an epoch", ["epoch"]),
            ("within a layer and step", ["layer", "step"]),
            ("within a layer and step of a run", ["run", "layer", "step"]),
        ):
            assert found["correlate"][f"{column} and λmax(F), {name}"]["within"] == within
    direct = analysis.correlate(
        [
            {**row, "sgv": float(row["sgv"]), "lambda": float(row["lambda"])}
            for row in rows_of(written / "theory-prediction.csv")
        ],
        within=("epoch",),
    )
    assert found["correlate"]["SGV and λmax(F), within an epoch"]["rho"] == pytest.approx(direct.rho)
    assert len(found["over_epochs"]) == 2 * EPOCHS
    text = (written / "analysis.html").read_text(encoding="utf-8")
    assert "nothing about other runs" in text
    assert "were not kept" not in text


def test_a_run_is_given_back_as_it_was(study):
    case = study.cases[1]
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    largest = case.fisher.whole.top[0]
    with case.at(1) as then:
        assert then.fisher.whole.top[0] != largest
        assert not all(torch.equal(before[name], value) for name, value in case.model.state_dict().items())
    with pytest.raises(RuntimeError), case.at(2):
        raise RuntimeError
    assert all(torch.equal(before[name], value) for name, value in case.model.state_dict().items())
    assert not case.model.training
    with case.at(EPOCHS) as now:
        assert now is case


@pytest.mark.parametrize("count", [1, 2, MOST, MOST + 1, 31, 310])
@pytest.mark.parametrize("most", [1, 2, MOST])
def test_epochs_are_spread_evenly(count, most):
    epochs = list(range(10, 10 * count + 1, 10))
    found = spread(epochs, most)
    assert found == sorted(set(found))
    assert len(found) == min(count, most)
    assert found[-1] == epochs[-1]
    assert set(found) <= set(epochs)
    if most > 1:
        assert found[0] == epochs[0]
        gaps = [b - a for a, b in pairwise(found)]
        assert not gaps or max(gaps) - min(gaps) <= 10


def test_few_epochs_are_looked_at_and_that_is_said(comparison, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(comparison / "fixed-s0", run)
    for epoch in range(4, 3 + MOST):  # as many again, all of them the same
        shutil.copy(epoch_checkpoint(run, 1), epoch_checkpoint(run, epoch))
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(text.replace("epochs: 3", f"epochs: {3 + MOST}"), encoding="utf-8")
    epoch_checkpoint(run, 1).write_bytes(b"cut")
    found = a2sg.analyze(run, only=["theory"], samples=SAMPLES, batch_size=BATCH).sections["theory"]
    (said,) = [note for note in found.notes if "whose weights were kept" in note]
    assert f"of the {3 + MOST} epochs" in said
    assert f"at most {MOST} are" in said
    (said,) = [note for note in found.notes if note.startswith("Left out: epoch 1 of ")]
    assert "damaged" in said
    epochs = {row["epoch"] for panel in found.panels if panel.name == "theory-epochs" for row in panel.rows}
    assert len(epochs) == MOST - 1
    assert max(epochs) == 3 + MOST


def test_a_small_budget_leaves_the_last_epoch(study):
    slow = replace(study, seconds=1.0, options=replace(study.options, budget=9.0))
    found, notes = snapshots(slow)
    assert [(one.run, one.epoch) for one in found] == [(label, EPOCHS) for label in study.labels]
    assert all("as many as --budget allows" in note for note in notes)
    assert len(notes) == 1


def test_slices_by_layer_share_a_budget(study):
    """Each of a deep network's layers was affordable, and all of them took an hour."""
    slow = replace(study, seconds=1.0, options=replace(study.options, budget=2.5 * FORWARD * POINTS))
    found = landscape(slow)
    (panel,) = [panel for panel in found.panels if panel.name == "landscape-layers"]
    assert len(study.cases[0].weights) == 3
    assert {row["layer"] for row in panel.rows} == {"fc1.synapse", "head.layer"}
    assert any("2 of the 3 layers" in note for note in found.notes)
    none = landscape(replace(slow, options=replace(study.options, budget=1.0)))
    assert not none.panels
    assert any("0 of the 3 layers" in note for note in none.notes)


def test_groupings_that_say_nothing_new_are_left_out():
    def rows(runs, epochs):
        return [
            {"run": run, "epoch": epoch, "layer": layer, "step": step}
            for run in range(runs)
            for epoch in range(epochs)
            for layer in "ab"
            for step in (1, 2)
        ]

    assert list(_groupings(rows(1, 1))) == ["all points"]
    assert list(_groupings(rows(2, 1))) == ["all points", "within a run", "within a layer and step"]
    assert list(_groupings(rows(1, 3))) == ["all points", "within an epoch", "within a layer and step"]
    assert len(_groupings(rows(2, 3))) == 6


def test_an_epoch_that_is_not_there(study):
    said = r"kept no weights after epoch 9: it has \[1, 2, 3\]"
    with pytest.raises(InputError, match=said), study.cases[0].at(9):
        pass
