"""A run on recordings of different lengths: what comes after an end counts nowhere."""

import numpy as np
import pytest
import torch

from a2sg.cli import main
from a2sg.data import ArrayImages, ImageData, register_data
from a2sg.data.sets import DATA, ends_of
from a2sg.errors import InputError
from a2sg.files import read_rows
from a2sg.training.build import build_data, build_loss
from a2sg.training.evaluate import evaluate
from a2sg.training.losses import LOSSES, Loss, mean_readout, register_loss
from a2sg.training.over_steps import evaluate_over_steps
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train

NAME = "lengths_of_a_test"
CPU = torch.device("cpu")
OPTIONS = {
    "epochs": 2,
    "windows.every": 1,
    "windows.start": 0,
    "model.name": "mlp_small",
    "model.options": {"hidden": [12, 12]},
    "model.steps": 5,
    "data.name": NAME,
    "data.batch_size": 8,
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Events in 3 to 5 frames; the rest is empty."""

    @register_data(NAME)
    def lengths(steps: int = 5) -> ImageData:
        def split(seed, count):
            random = np.random.default_rng(seed)
            labels = random.integers(0, 2, count)
            frames = random.poisson(1 + 2 * labels[:, None, None, None, None], (count, steps, 1, 2, 3))
            frames[np.arange(steps) >= random.integers(3, steps + 1, count)[:, None]] = 0
            return ArrayImages(frames.astype(np.float32), labels)

        return ImageData(
            train=split(0, 32),
            test=split(1, 16),
            classes=("few", "many"),
            shape=(1, 2, 3),
            description="events of a test",
            steps=steps,
            padded=True,
        )

    yield
    del DATA[NAME]


@pytest.fixture(scope="module")
def run(tmp_path_factory, registered):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, train(load_recipe("digits", OPTIONS), folder, quiet=True)


def test_a_run_is_judged_by_each_recordings_own_frames(run):
    folder, summary = run
    task = load_run(folder)
    assert summary["accuracy"] > 0.5
    right = 0
    with torch.no_grad():
        for x, labels in task.eval().val_dataloader():
            logits = task.model(x)
            for b, length in enumerate(ends_of(x).tolist()):
                right += int(logits[:length, b].mean(0).argmax() == labels[b])
    assert summary["accuracy"] == pytest.approx(right / 16)
    assert evaluate(task, CPU)["accuracy"] == summary["accuracy"]
    assert {len(windows) for windows in summary["windows"].values()} == {5}


def test_a_search_counts_each_recordings_own_frames(run, monkeypatch):
    """Counts of the last layer at each step, of one batch: neurons times recordings that are that long."""
    task = load_run(run[0])
    x, labels = next(iter(task.val_dataloader()))
    monkeypatch.setattr(task, "shares", task.shares_of(task.data.test), raising=False)
    monkeypatch.setattr(task, "log_dict", lambda *_, **__: None)
    task.windows.iteration = task.windows.start
    task.windows._arm()
    task.training_step((x, labels), 0).backward()
    *_, last = task.windows.observers.values()
    expected = [12 * int((ends_of(x) > step).sum()) for step in range(5)]
    assert last.table[:, -1, 0].tolist() == expected
    assert expected[-1] < expected[0] == 12 * 8


def test_a_recipe_has_steps_share_windows(tmp_path):
    """And a run is searched, resumed and evaluated with them."""
    config = load_recipe("digits", OPTIONS | {"neuron.options.groups": 2})
    summary = train(config, tmp_path / "run", quiet=True)
    assert {len(windows) for windows in summary["windows"].values()} == {2}
    rows = read_rows(tmp_path / "run" / "windows.csv")
    assert {row["step"] for row in rows} == {3, 5}
    assert any(row["window"] != row["window_before"] for row in rows)
    found = evaluate_over_steps(tmp_path / "run", [4, 5], CPU)
    assert found["steps"][1]["accuracy"] == summary["accuracy"]


def test_graphs_are_told_why_not(run):
    assert "different steps" in load_run(run[0]).graphs_obstacle(CPU)


def test_a_loss_that_knows_no_lengths_is_refused():
    @register_loss("of_one_length")
    class OneLength(Loss):
        def readout(self, logits):
            return mean_readout(logits)

    try:
        config = load_recipe("digits", OPTIONS | {"loss.name": "of_one_length", "loss.label_smoothing": 0})
        with pytest.raises(InputError, match="does not take lengths"):
            build_loss(config, build_data(config))
        config = load_recipe("digits", {"loss.name": "of_one_length", "loss.label_smoothing": 0})
        logits, labels = torch.randn(3, 2, 10), torch.tensor([1, 2])
        assert build_loss(config, build_data(config))(logits, labels).isfinite()
    finally:
        del LOSSES["of_one_length"]


def test_a_study_says_that_it_does_not_know_them(run, capsys):
    assert main(["analyze", str(run[0])]) == 2
    assert "recordings of different lengths" in capsys.readouterr().err
