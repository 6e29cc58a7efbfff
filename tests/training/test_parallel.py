"""A run on two devices is the run on one: the same batches, gradients, windows and numbers."""

import csv
from functools import partial

import pytest
import torch

from a2sg.errors import InputError
from a2sg.training.evaluate import evaluate
from a2sg.training.midway import Saver
from a2sg.training.parallel import require_divisible, rule
from a2sg.training.recipe import load_recipe
from a2sg.training.run import Interrupted, load_run, train
from ranks import needs_distributed, run_ranks

RANKS = 2
TINY = {
    "epochs": 2,
    "device": "cpu",
    "windows.every": 4,
    "data.batch_size": 92,  # 13 batches and one sample: the second rank then has none
    "model.name": "mlp_small",
    "model.steps": 2,
    "optimizer.name": "sgd",  # Adam makes steps of rounding
    "optimizer.lr": 0.05,
    "model.options": {"hidden": [16], "norm": "sync"},
}
CONV = {"model.name": "vgg_small", "model.options": {"width": 0.125, "norm": "sync"}}
CASES = {
    "plain": {"keep_every": 1},
    "conv": {**CONV, "data.resident": False},
    "mixed": {"augment.crop_padding": 1, "augment.cutmix": 1.0, "augment.mixup": 1.0},
    "accumulated": {"accumulate": 2, "optimizer.average": 0.9, "optimizer.clip_norm": 0.5},
    "dspike": {
        "surrogate": {"name": "dspike"},
        "windows.policy": "dspike",
        "windows.options": {"weights": 5},
        "windows.every": 10,
    },
    "weighted": {"loss.options": {"class_weights": [1.0, 9.0, 1.0, 1.0, 5.0, 1.0, 1.0, 20.0, 1.0, 1.0]}},
    "interrupted": {"windows.batches": 3, "augment.erasing": 0.5},
}


def config_of(case):
    return load_recipe("digits", {**TINY, **CASES[case]})


def stopped(case, out, at, rank):
    """Train until a signal comes to one rank alone, at step `at`."""
    call = Saver.__call__

    def signalled(self, trainer, *rest):
        if trainer.global_step == at and trainer.global_rank == rank:
            self.signal = 15
        call(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "__call__", signalled)
        with pytest.raises(Interrupted) as stop:
            train(config_of(case), out, quiet=True)
    return stop.value.status


def work(folder, rank):
    """What each of two ranks does, and gives back."""
    given = {case: train(config_of(case), folder / f"{case}-2", quiet=True) for case in CASES}
    given["status"] = stopped("interrupted", folder / "to one", at=6, rank=1)
    train(config_of("interrupted"), folder / "to two", resume=True, quiet=True)
    given["evaluated"] = evaluate(load_run(folder / "plain-2"), torch.device("cpu"))
    return given


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every case in a folder CASE-1 on one device, and CASE-2 on two; and what the ranks gave back."""
    folder = tmp_path_factory.mktemp("runs")

    for case in CASES:
        train(config_of(case), folder / f"{case}-1", quiet=True)
    assert stopped("interrupted", folder / "to two", at=17, rank=0) == 128 + 15
    first, second = run_ranks(partial(work, folder), folder, RANKS)
    assert first == second
    train(config_of("interrupted"), folder / "to one", resume=True, quiet=True)
    return folder, first


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same(one, other):
    """Two run folders hold the same run but for time and rounding."""
    for name in ("metrics.csv", "windows.csv"):
        mine, theirs = rows(one / name), rows(other / name)
        assert len(mine) == len(theirs) > 0
        for left, right in zip(mine, theirs, strict=True):
            assert left.keys() == right.keys()
            for key in left.keys() - {"seconds"}:
                if key in ("iteration", "layer", "step", "window", "kept", "epoch", "temperature"):
                    assert left[key] == right[key], key
                elif left[key] or right[key]:
                    # A potential that all but reaches the threshold may, by rounding, do so on one side.
                    near = {"abs": 1 / 200} if key.endswith("accuracy") else {"rel": 2e-3, "abs": 1e-6}
                    assert float(left[key]) == pytest.approx(float(right[key]), **near), key


@needs_distributed
@pytest.mark.parametrize("case", CASES)
def test_two_devices_do_what_one_does(folder, case):
    runs, given = folder
    assert_same(runs / f"{case}-1", runs / f"{case}-2")
    alone = load_run(runs / f"{case}-1").model.state_dict()
    for name, value in load_run(runs / f"{case}-2").model.state_dict().items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-5)
    assert given[case]["devices"] == RANKS


@needs_distributed
@pytest.mark.parametrize("name", ["to one", "to two"])
def test_a_run_goes_on_with_another_number_of_devices(folder, name):
    runs, given = folder
    assert given["status"] == 128 + 15
    assert_same(runs / name, runs / "interrupted-1")


@needs_distributed
def test_devices_share_the_evaluation(folder):
    runs, given = folder
    alone = evaluate(load_run(runs / "plain-2"), torch.device("cpu"))
    assert given["evaluated"].pop("loss") == pytest.approx(alone.pop("loss"), rel=1e-6)
    assert given["evaluated"] == alone


@needs_distributed
def test_the_folder_of_several_devices_is_written_once(folder):
    runs, _ = folder
    names = [
        sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if "tfevents" not in path.name)
        for run in (runs / "plain-1", runs / "plain-2")
    ]
    assert names[0] == names[1]
    assert len(list((runs / "plain-2" / "tensorboard").glob("*tfevents*"))) == 1


def test_the_batch_must_be_divisible():
    config = load_recipe("digits", {"data.batch_size": 64})
    require_divisible(config, 4)
    with pytest.raises(
        InputError, match="3 devices cannot share 64 evenly: use 63 or 66, or change --devices"
    ):
        require_divisible(config, 3)


def test_the_rule_is_said():
    config = load_recipe("digits", {"data.batch_size": 64, "accumulate": 4, "optimizer.lr": 0.1})
    assert rule(config, 4) == (
        "4 devices share each batch of 64, 16 samples each, 4 of them to a step; the learning rate stays 0.1"
    )
