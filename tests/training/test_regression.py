"""Losses of numbers against their formulas, and runs that are judged by R²."""

import math

import numpy as np
import pytest
import torch

from a2sg.data import ArrayImages, ImageData, register_data
from a2sg.data.sets import DATA
from a2sg.errors import InputError
from a2sg.export.of_run import input_of
from a2sg.training.build import build_data, build_loss
from a2sg.training.evaluate import evaluate
from a2sg.training.losses import create_loss
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from saved import metrics


@pytest.fixture
def slopes():
    """A data set for regression: the slopes of a plane of brightness, across and down."""

    @register_data("slopes")
    def slopes(samples: int = 256) -> ImageData:
        """Planes of brightness, and their slopes."""

        def split(seed):
            draw = np.random.default_rng(seed)
            targets = draw.uniform(-1, 1, (samples, 2)).astype(np.float32)
            at = np.linspace(-1, 1, 8, dtype=np.float32)
            images = targets[:, 0, None, None] * at + targets[:, 1, None, None] * at[:, None]
            return ArrayImages(images[:, None], targets)

        return ImageData(
            train=split(0),
            test=split(1),
            classes=("across", "down"),
            shape=(1, 8, 8),
            description="planes",
            task="regression",
        )

    yield
    del DATA["slopes"]


def recipe(**options):
    return load_recipe(
        "digits",
        {"data.name": "slopes", "loss.name": "mse", "loss.label_smoothing": 0.0, "epochs": 8, **options},
    )


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        ("mse", {}, lambda e: e * e),
        ("huber", {}, lambda e: e * e / 2 if abs(e) < 1 else abs(e) - 0.5),
        ("huber", {"delta": 0.25}, lambda e: e * e / 2 if abs(e) < 0.25 else 0.25 * (abs(e) - 0.125)),
    ],
)
def test_losses_are_their_formulas(name, options, of):
    torch.manual_seed(0)
    outputs, targets = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(4, 2)
    loss = create_loss(name, **options)
    errors = (outputs.sum(0) / 3 - targets).flatten().tolist()
    assert loss(outputs, targets).item() == pytest.approx(sum(map(of, errors)) / len(errors))
    assert torch.equal(loss.predict(outputs), outputs.mean(0))
    assert loss.right(targets) is targets


def test_what_cannot_work_is_told():
    with pytest.raises(InputError, match=r"the network gives \(4, 2\) .* targets \(4,\)"):
        create_loss("mse")(torch.zeros(3, 4, 2), torch.zeros(4))
    with pytest.raises(InputError, match="delta must be a number above 0"):
        create_loss("huber", delta=0)
    with pytest.raises(InputError, match="not 'label_smoothing'"):
        create_loss("mse", 0.1)


def test_a_run_learns_numbers_and_is_judged_by_r2(slopes, tmp_path):
    summary = train(recipe(), tmp_path / "run", quiet=True)
    assert 0.8 < summary["r2"] <= 1
    assert "accuracy" not in summary
    header = metrics(tmp_path / "run")[0]
    assert "test_r2" in header
    task = load_run(tmp_path / "run")
    again = evaluate(task, torch.device("cpu"))
    assert (again["r2"], again["loss"]) == (summary["r2"], summary["loss"])
    images, targets = task.data.test.images, task.data.test.labels
    with torch.no_grad():
        values = task.eval().model(images).mean(0).double()
    errors, spread = (
        (values - targets).square().sum(0),
        (targets.double() - targets.double().mean(0)).square(),
    )
    assert (1 - errors / spread.sum(0)).mean().item() == pytest.approx(summary["r2"], abs=1e-5)
    assert input_of(task.data).startswith("the image at every step")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss.name": "mean"}, "is for regression: set loss.name to one of huber, mse"),
        ({"loss.options.delta": 1.0}, "loss 'mse' takes no options, not 'delta'"),
        (
            {"data.name": "digits"},
            "loss 'mse' is for regression, but data set 'digits' is for classification",
        ),
        ({"augment.mixup": 0.2}, "augment.mixup is not for images with numbers as labels"),
        ({"data.name": "digits", "loss.name": "mean", "loss.options.label_smoothing": 0.1}, "set that"),
        (
            {"data.name": "digits", "loss.name": "mean", "loss.options.class_weights": [1.0]},
            "a number for each of the 10 classes, not 1",
        ),
    ],
)
def test_a_run_that_cannot_work_is_told_before_it_begins(slopes, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(recipe(**options), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_balanced_class_weights_count_classes_alike():
    config = load_recipe("digits", {"loss.options.class_weights": "balanced"})
    data = build_data(config)
    loss = build_loss(config, data)
    counts = torch.bincount(data.train.labels).double()
    shares = counts * torch.tensor(loss.class_weights, dtype=torch.float64)
    torch.testing.assert_close(shares, torch.full((10,), counts.sum().item() / 10, dtype=torch.float64))
    assert not math.isclose(*torch.tensor(loss.class_weights)[[0, 8]].tolist(), abs_tol=1e-3)
