"""Where a run's batches come from: the device, or a loader with workers."""

import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler, Subset

from a2sg.data.resident import ResidentBatches
from a2sg.errors import InputError
from a2sg.training.batches import build_batches, count_workers
from a2sg.training.build import build_data
from a2sg.training.recipe import load_recipe
from a2sg.training.run import train
from machine import pretend_cores
from saved import metrics

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def quick(**overrides):
    return load_recipe(
        "digits", {"epochs": 1, "data.batch_size": 128, "model.name": "mlp_small", **overrides}
    )


def batches(data=None, **options):
    config = quick(**{"model.options": {}, **{f"data.{name}": value for name, value in options.items()}})
    data = data or build_data(config).test
    return build_batches(config.data, data, SequentialSampler(data), CPU, seed=0)


def test_a_set_in_memory_needs_no_loader_unless_workers_are_asked_for():
    assert isinstance(batches(), ResidentBatches)
    assert isinstance(batches(workers=0), ResidentBatches)
    assert isinstance(batches(resident=True), ResidentBatches)
    assert isinstance(batches(resident=False), DataLoader)
    loader = batches(workers=1)
    assert isinstance(loader, DataLoader)
    assert loader.num_workers == 1


def test_a_set_that_is_read_one_by_one_comes_from_a_loader():
    part = Subset(build_data(quick(**{"model.options": {}})).test, range(100))
    assert isinstance(batches(part), DataLoader)
    with pytest.raises(InputError, match=r"data\.resident is true, but Subset"):
        batches(part, resident=True)


@pytest.mark.parametrize(
    ("available", "variables", "workers"),
    [
        (16, {}, 15),
        (2, {}, 1),
        (1, {}, 1),
        (16, {"A2SG_SHARERS": "2"}, 7),
        (16, {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}, 3),
    ],
)
def test_workers_are_for_gpus_and_share_the_cores(monkeypatch, available, variables, workers):
    pretend_cores(monkeypatch, available)
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert count_workers("auto", CPU) == 0
    assert count_workers(3, CPU) == count_workers(3, GPU) == 3
    assert count_workers("auto", GPU) == workers


def test_a_run_is_the_same_from_a_loader_and_from_the_device(tmp_path):
    for name, overrides in {
        "resident": {},
        "loader": {"data.resident": False},
        "workers": {"data.workers": 1},
    }.items():
        train(
            quick(**{"model.options": {}, "augment.erasing": 0.5, **overrides}), tmp_path / name, quiet=True
        )
    assert metrics(tmp_path / "resident") == metrics(tmp_path / "loader") == metrics(tmp_path / "workers")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.resident", "always", r"data\.resident must be true or false or the text 'auto', not"),
        (
            "data.workers",
            "many",
            r"data\.workers must be a whole number or the text 'auto', not 'many'",
        ),
        ("data.workers", -1, r"data\.workers must be a whole number of at least 0, not -1"),
    ],
)
def test_other_values_are_told(field, value, message):
    with pytest.raises(InputError, match=message):
        quick(**{field: value})
