"""Runs on scenes and on recordings: scored, fed and augmented as their data asks."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from a2sg.cli import main
from a2sg.data import create_data
from a2sg.data.sets import IGNORE, ImageData
from a2sg.errors import InputError
from a2sg.score import SCORES, score_in
from a2sg.training.build import build_augment, build_data
from a2sg.training.evaluate import evaluate
from a2sg.training.losses import create_loss, cross_entropy
from a2sg.training.metrics import build_metric
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from a2sg.training.task import SpikingTask
from augmented import augmented
from places import DATA


def few(data, count):
    """A data set with its first samples alone."""
    parts = {}
    for name in ("train", "test"):
        images, labels = getattr(data, name).__getitems__(range(count))
        parts[name] = Few(images, labels)
    return ImageData(**{**vars(data), **parts})


class Few(torch.utils.data.TensorDataset):
    def __getitems__(self, indices):
        return self[torch.as_tensor(indices)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Embedded data sets with 32 samples a split."""

    def shortened(config):
        data = build_data(config)
        return few(data, 32) if config.data.name.startswith("digits") else data

    monkeypatch.setattr("a2sg.training.run.build_data", shortened)


def quick(recipe, **overrides):
    return load_recipe(recipe, {"epochs": 1, "model.options.width": 0.25, "windows.every": 1, **overrides})


def iou_by_loop(predicted, labels, classes):
    """The mean over classes that occur, pixel by pixel."""
    pairs = [(p, y) for p, y in zip(predicted.flatten().tolist(), labels.flatten().tolist(), strict=True)]
    pairs = [(p, y) for p, y in pairs if y != IGNORE]
    found = []
    for c in range(classes):
        union = sum(p == c or y == c for p, y in pairs)
        if union:
            found.append(sum(p == c and y == c for p, y in pairs) / union)
    return sum(found) / len(found)


def scenes(classes=5, task="segmentation", steps=None, mean=(0.5,) * 3):
    names = tuple("abcdefghij"[:classes])
    parts = {"train": None, "test": None, "classes": names, "shape": (3, 4, 6), "description": ""}
    return ImageData(**parts, mean=mean, std=mean, task=task, steps=steps)


@pytest.mark.parametrize("present", [5, 3])
def test_miou_is_that_of_a_loop_over_all_batches(present):
    torch.manual_seed(0)
    metric = build_metric(scenes())
    predicted, labels = torch.randint(0, present, (3, 2, 4, 6)), torch.randint(0, present, (3, 2, 4, 6))
    labels[torch.rand(labels.shape) < 0.3] = IGNORE
    for batch in range(3):
        metric.update(predicted[batch], labels[batch])
    assert metric.compute().item() == pytest.approx(iou_by_loop(predicted, labels, 5))


def test_miou_by_hand():
    metric = build_metric(scenes(3))
    metric.update(torch.tensor([[0, 0, 1, 1, 2]]), torch.tensor([[0, 1, 1, 1, IGNORE]]))
    assert metric.compute().item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def cross_entropy_by_loop(scores, labels, smoothing):
    terms = []
    for row, label in zip(scores.movedim(1, -1).flatten(0, -2), labels.flatten().tolist(), strict=True):
        if label != IGNORE:
            target = torch.full_like(row, smoothing / len(row))
            target[label] += 1 - smoothing
            terms.append(-(target * row.log_softmax(0)).sum())
    return sum(terms) / len(terms) if terms else torch.tensor(0.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pixels_that_are_ignored_count_for_nothing(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 5, 4, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (2, 4, 6))
    labels[torch.rand(labels.shape) < 0.4] = IGNORE
    loss = create_loss("mean", smoothing)(logits, labels)
    torch.testing.assert_close(loss, cross_entropy_by_loop(logits.mean(0), labels, smoothing))
    loss.backward()
    assert (logits.grad.abs().sum((0, 2)) == 0).eq(labels == IGNORE).all()
    tet = create_loss("tet", smoothing, weight=0.0)(logits, labels)
    steps = [cross_entropy_by_loop(step, labels, smoothing) for step in logits]
    torch.testing.assert_close(tet, sum(steps) / 3)
    assert create_loss("mean").predict(logits).shape == (2, 4, 6)


def test_a_batch_without_any_label_has_no_loss_and_no_gradient():
    scores = torch.randn(2, 5, 4, 6, requires_grad=True)
    loss = cross_entropy(scores, torch.full((2, 4, 6), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize(
    ("scores", "labels"), [((2, 5), (2, 4, 6)), ((2, 5, 4, 6), (2,)), ((2, 5, 4, 6), (2, 4, 5))]
)
def test_labels_that_do_not_fit_the_network_are_told(scores, labels):
    with pytest.raises(InputError, match="a class per pixel needs a network such as fcn_small"):
        cross_entropy(torch.randn(scores), torch.zeros(labels, dtype=torch.int64))


def test_the_score_of_a_file_is_found_in_its_fields():
    assert score_in({"loss": 1, "miou": 0.5}).text == "mIoU"
    assert score_in({"accuracy": 0.5}).text == "accuracy"
    assert score_in({"test_miou": 0.5}, "test_") is SCORES["segmentation"]
    assert score_in({}) is SCORES["classification"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "scenes"
    patch = pytest.MonkeyPatch()
    patch.setattr("a2sg.training.run.build_data", lambda config: few(build_data(config), 32))
    summary = train(quick("digits-scenes", epochs=2), out, quiet=True)
    patch.undo()
    return out, summary


def test_a_run_on_scenes_is_judged_by_miou(run):
    out, summary = run
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    assert "accuracy" not in summary
    task = load_run(out).eval()
    images, labels = task.data.test.__getitems__(range(32))
    with torch.no_grad():
        predicted = task.loss.predict(task.model(images))
    assert summary["miou"] == pytest.approx(iou_by_loop(predicted, labels, 11), abs=1e-6)
    assert summary["samples"] == 32
    rows = list(csv.DictReader((out / "metrics.csv").open(encoding="utf-8")))
    assert list(rows[0]) == [
        "epoch",
        "iteration",
        "lr",
        "skipped",
        "train_loss",
        "train_miou",
        "test_loss",
        "test_miou",
        "seconds",
    ]
    assert float(rows[-1]["test_miou"]) == pytest.approx(summary["miou"], abs=1e-6)


def test_the_loss_of_scenes_does_not_depend_on_how_they_are_batched(run):
    """Though some have more ignored pixels than others."""
    task = load_run(run[0])
    images, labels = task.data.test.tensors
    labels[:20, 1:] = IGNORE
    whole = cross_entropy_by_loop(task.eval().model(images).mean(0).detach(), labels, 0.0)
    for size in (32, 5):
        task.config = replace(task.config, data=replace(task.config.data, batch_size=size))
        assert evaluate(task, torch.device("cpu"))["loss"] == pytest.approx(whole.item(), rel=1e-5)


def test_a_run_on_scenes_is_evaluated_from_the_command_line(run, capsys):
    out, summary = run
    assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    assert json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["miou"] == summary["miou"]
    assert f"test mIoU {100 * summary['miou']:.2f} %" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_arms_are_compared_on_scenes(tmp_path, capsys):
    command = [
        "compare",
        "digits-scenes",
        "--arms",
        "fixed,a2sg",
        "--seeds",
        "0,1",
        "--out",
        str(tmp_path / "c"),
    ]
    command += ["--epochs", "1", "--model.options.width", "0.25", "--windows.every", "1", "--device", "cpu"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "mIoU" in shown
    assert "accuracy" not in shown
    assert "mIoU %" in (tmp_path / "c" / "table.md").read_text(encoding="utf-8")
    for folder in (tmp_path / "c", tmp_path / "c" / "a2sg-s0"):
        assert (folder / "miou.png").is_file()
        assert not (folder / "accuracy.png").exists()
    table = list(csv.DictReader((tmp_path / "c" / "table.csv").open(encoding="utf-8")))
    runs = list(csv.DictReader((tmp_path / "c" / "comparison.csv").open(encoding="utf-8")))
    for row in table:
        values = [100 * float(run["miou"]) for run in runs if run["arm"] == row["arm"]]
        assert float(row["miou_percent"]) == pytest.approx(np.mean(values))
        assert float(row["miou_sd"]) == pytest.approx(np.std(values, ddof=1))


def test_recordings_reach_the_network_with_time_first(tmp_path, monkeypatch):
    seen = []
    original = SpikingTask.training_step

    def watched(self, batch, index):
        seen.append(batch)
        return original(self, batch, index)

    monkeypatch.setattr(SpikingTask, "training_step", watched)
    config = quick("digits-events", **{"data.batch_size": 8, "model.steps": 3})
    summary = train(config, tmp_path / "run", quiet=True)
    assert {tuple(images.shape) for images, _ in seen} == {(3, 8, 2, 12, 12)}
    data = create_data("digits_events", steps=3)
    known = {frames.numpy().tobytes() for frames in data.train.images[:32]}
    for images, _ in seen:
        for sample in range(8):
            assert images[:, sample].contiguous().numpy().tobytes() in known
    assert 0 <= summary["accuracy"] <= 1


def test_recordings_have_as_many_frames_as_the_network_steps():
    config = quick("digits-events", **{"model.steps": 6})
    assert build_data(config).steps == 6
    with pytest.raises(InputError, match=r"data\.options\.steps is model\.steps"):
        build_data(quick("digits-events", **{"data.options.steps": 3}))


def test_energy_of_recordings_counts_no_multiplications(tmp_path):
    config = quick("digits-events")
    train(config, tmp_path / "run", quiet=True)
    task = load_run(tmp_path / "run").eval()
    images, _ = task.data.test.__getitems__(range(32))
    from a2sg.energy import measure

    found = measure(task.model, images.transpose(0, 1), real_input=False)
    assert found.macs == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["energy_nj_per_sample"] == pytest.approx(found.picojoules / 1000, rel=1e-5)


def test_nda_moves_training_recordings_alone(monkeypatch):
    config = quick("digits-events", **{"augment.nda": True, "augment.cutmix": 1.0})
    data = few(build_data(config), 16)
    augment = build_augment(config, data)
    frames, labels = (part for part in data.train.__getitems__(range(16)))
    frames = frames.transpose(0, 1)
    mixed, soft = augmented(augment, frames, labels)
    assert mixed.shape == frames.shape
    assert soft.shape == (16, 10)
    assert not torch.equal(mixed, frames)


@pytest.mark.parametrize(
    ("data", "augment", "message"),
    [
        (scenes(), {"nda": True}, "augment.nda is not for scenes"),
        (scenes(), {"cutmix": 1.0}, "augment.cutmix is not for scenes"),
        (scenes(mean=()), {"scenes": True}, "change pixels"),
        (scenes(task="classification"), {"scenes": True}, "augment.scenes is not for images"),
        (scenes(task="classification"), {"nda": True}, "augment.nda is not for images"),
        (scenes(task="classification", steps=4), {"flip": True}, "augment.flip is not for recordings"),
        (scenes(task="classification", steps=4), {"crop_padding": 2}, "crop_padding is not for recordings"),
    ],
)
def test_augmentation_of_other_data_is_told(data, augment, message):
    config = load_recipe("digits", {f"augment.{name}": value for name, value in augment.items()})
    with pytest.raises(InputError, match=message):
        build_augment(config, data)


@pytest.mark.parametrize("name", ["tactile", "camvid-quick"])
def test_recipes_without_their_data_say_where_it_comes_from(tmp_path, name, capsys):
    assert main(["train", name, "--out", str(tmp_path / "run")]) == 2
    assert "needs data.options.source" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_tactile_recipe_trains_on_the_real_recordings(tmp_path):
    source = DATA / "tactile" / "Ev-Objects.zip"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    config = load_recipe("tactile", {"epochs": 3, "data.options.source": str(source)})
    summary = train(config, tmp_path / "run", quiet=True)
    assert summary["samples"] == 144
    assert summary["accuracy"] > 0.2  # chance is 1 in 36


def test_the_camvid_recipe_trains_on_the_real_scenes(tmp_path):
    source = DATA / "CamVid"
    if not source.is_dir():
        pytest.skip(f"needs {source}")
    overrides = {"data.options": {"source": str(source), "image_size": [24, 32]}, "windows.every": 5}
    summary = train(quick("camvid-quick", **overrides), tmp_path / "run", quiet=True)
    assert summary["samples"] == 78
    assert 0 < summary["miou"] < 1
