"""The learning rate over a run and over the parts of a network; weights to start from."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from a2sg.data.sets import DATA, Held
from a2sg.errors import InputError
from a2sg.training import task
from a2sg.training.build import build_data, build_model, build_optimizer, build_schedule
from a2sg.training.checkpoints import CHECKPOINT, read_checkpoint
from a2sg.training.config import OptimizerConfig
from a2sg.training.recipe import load_recipe
from a2sg.training.run import take_weights, train


def rates(config, iterations, epochs, model=None):
    """The learning rate of every group in each iteration."""
    optimizer = build_optimizer(config, model or nn.Linear(2, 2))
    schedule = build_schedule(config, optimizer, iterations, epochs)
    found = []
    for _ in range(iterations):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
def test_poly_declines_by_its_formula_after_the_warm_up(power):
    config = OptimizerConfig(lr=0.1, schedule="poly", power=power, warmup_epochs=2, warmup_lr=0.01)
    found = [rate for rate, *_ in rates(config, iterations=50, epochs=10)]
    for at in range(10):
        assert found[at] == pytest.approx(0.01 + (0.1 - 0.01) * at / 10)
    for at in range(10, 50):
        assert found[at] == pytest.approx(0.1 * (1 - (at - 10) / 40) ** power)


def test_without_warm_up_poly_begins_at_once():
    found = [rate for rate, *_ in rates(OptimizerConfig(lr=0.5, schedule="poly"), iterations=4, epochs=1)]
    assert found == pytest.approx([0.5, 0.375, 0.25, 0.125])


@pytest.mark.parametrize("warmup", [0, 3])
def test_one_cycle_rises_and_falls_by_cosines(warmup):
    config = OptimizerConfig(lr=0.1, schedule="onecycle", warmup_epochs=warmup, warmup_lr=0.004)
    found = [rate for rate, *_ in rates(config, iterations=50, epochs=10)]

    def between(first, last, share):
        return last + (first - last) * (1 + math.cos(math.pi * share)) / 2

    top = 5 * warmup if warmup else -1
    for at in range(top):
        assert found[at] == pytest.approx(between(0.004, 0.1, at / top))
    for at in range(max(top, 0), 50):
        assert found[at] == pytest.approx(between(0.1, 0.004 / 1e4, (at - top) / (50 - top)))


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_head_has_its_own_learning_rate_all_along(name):
    model = Parts()
    config = OptimizerConfig(name=name, lr=0.1, head_factor=2.0, weight_decay=0.3, warmup_epochs=1)
    groups = {
        id(parameter): group
        for group in build_optimizer(config, model).param_groups
        for parameter in group["params"]
    }
    assert len(groups) == len(list(model.parameters()))
    for part, parameter in model.named_parameters():
        group = groups[id(parameter)]
        assert group["lr"] == pytest.approx(0.2 if part.startswith("head") else 0.1)
        assert group["weight_decay"] == (0.3 if parameter.dim() == 2 else 0.0)
    for rest, _, head, _ in rates(config, iterations=20, epochs=5, model=model):
        assert head == pytest.approx(2 * rest)


def test_without_a_factor_there_are_the_usual_two_groups():
    assert len(build_optimizer(OptimizerConfig(), Parts()).param_groups) == 2


def test_a_head_that_is_not_there_is_told():
    with pytest.raises(InputError, match="the parts of this one are 0, 1: leave it at 1"):
        build_optimizer(OptimizerConfig(head_factor=2.0), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


@pytest.mark.parametrize("name", ["digits", "digits-scenes", "digits-events"])
def test_the_head_of_a_network_is_what_classifies(name):
    config = load_recipe(name, {"optimizer.head_factor": 3.0})
    model = build_model(config, build_data(config))
    *_, weights, biases = build_optimizer(config.optimizer, model).param_groups
    classes = len(build_data(config).classes)
    assert [len(parameter) for parameter in (*weights["params"], *biases["params"])] == [classes, classes]
    assert weights["lr"] == pytest.approx(3 * config.optimizer.lr)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("power", 0.0, "optimizer.power must be .*above 0"),
        ("head_factor", -1.0, "optimizer.head_factor must be .*above 0"),
        ("schedule", "linear", "linear"),
    ],
)
def test_values_that_cannot_be_are_told(field, value, message):
    with pytest.raises(InputError, match=message):
        load_recipe("digits", {f"optimizer.{field}": value})


def quick(**overrides):
    return load_recipe("digits", {"epochs": 1, "model.options.width": 0.25, "windows.every": 4, **overrides})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "trained"
    train(quick(), out, quiet=True)
    return out


def test_a_run_starts_from_the_weights_of_another(trained):
    config = quick(**{"model.options.image_size": 8, "seed": 5})
    data = build_data(config)
    model = build_model(config, data)
    model.head.layer = nn.Linear(32, 7)  # of another task
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = take_weights(model, trained)
    theirs = read_checkpoint(trained / CHECKPOINT)["state_dict"]
    taken = 0
    for name, value in model.state_dict().items():
        if name.startswith("head.") or name.endswith(".window"):
            assert torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, theirs[f"model.{name}"]), name
            taken += 1
    assert any(not torch.equal(theirs[f"model.{name}"], before[name]) for name in before if "bn" in name)
    assert said == f"{taken} of {taken + 2} weights and statistics"


def test_weights_are_taken_at_the_start_alone(trained, tmp_path, monkeypatch):
    config = quick(**{"model.weights": str(trained), "optimizer.lr": 1e-12, "optimizer.warmup_lr": 1e-12})
    train(config, tmp_path / "run", quiet=True)
    mine, theirs = (read_checkpoint(run / CHECKPOINT)["state_dict"] for run in (tmp_path / "run", trained))
    name = "model.head.layer.weight"
    torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-8)
    monkeypatch.setattr("a2sg.training.run.take_weights", lambda *_: pytest.fail("taken again"))
    train(config, tmp_path / "run", resume=True, quiet=True)


def test_weights_that_do_not_fit_are_told_and_nothing_is_written(trained, tmp_path):
    other = {"model.options.width": 0.3, "model.weights": str(trained)}
    config = load_recipe("digits-scenes", other)
    with pytest.raises(InputError, match=r"no weights of .* have the names and shapes"):
        train(config, tmp_path / "run", quiet=True)
    with pytest.raises(InputError, match="is not a run folder"):
        train(quick(**{"model.weights": str(tmp_path)}), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_that_are_numbered_from_1_are_told_before_training(part, monkeypatch):
    digits = build_data(load_recipe("digits"))
    numbered = Held(torch.zeros(3, 1, 8, 8), torch.tensor([1, 2, 10]))
    monkeypatch.setitem(DATA, "mine", lambda: replace(digits, **{part: numbered}))
    with pytest.raises(
        InputError, match="'mine' has 10 classes, so its labels must be from 0 to 9, not 1 to 10"
    ):
        build_data(load_recipe("digits", {"data.name": "mine"}))


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_gradients_are_clipped_for_a_fused_optimizer(tmp_path, monkeypatch, precision):
    """As a GPU has it. In bfloat16 nothing is scaled, but Lightning's own clipping refuses that too."""
    norms = []

    def fused(config, model, **_):
        optimizer = build_optimizer(config, model, fused=True)

        def note(*_):
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norms.append(torch.nn.utils.get_total_norm(grads).item())

        optimizer.register_step_post_hook(note)
        return optimizer

    monkeypatch.setattr(task, "build_optimizer", fused)
    options = {"epochs": 1, "device": "cpu", "precision": precision, "optimizer.clip_norm": 0.01}
    train(load_recipe("digits", {**options, "model.options.width": 0.25}), tmp_path / "run", quiet=True)
    assert norms == pytest.approx([0.01] * len(norms), rel=0.01)
