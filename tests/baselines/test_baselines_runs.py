"""The baselines as arms of a run: trained under augmentation, written down, resumed."""

import csv

import pytest
import torch

from a2sg import InputError
from a2sg.baselines import CPNG, DspikeSearch
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.compare import compare
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run, train
from interruption import interrupted
from saved import metrics, timeless

SEARCH = "dspike-search:change=1:weights=4"
ARMS = ["cpng", SEARCH, "dspike", "im", "rmp", "a2sg:im=0.001:rmp=0.0005"]


def quick(**overrides):
    """A narrow network on the digits, augmented; five iterations an epoch."""
    values = {
        "epochs": 1,
        "windows.every": 3,
        "data.batch_size": 256,
        "model.options": {"width": 0.25},
        "augment.crop_padding": 1,
        "augment.erasing": 0.2,
        "augment.cutmix": 0.5,
    }
    return load_recipe("digits", {**values, **overrides})


def rows(folder):
    with (folder / "windows.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("baselines")
    found = compare(quick(), [parse_arm(text) for text in ARMS], [0], out / "compared")
    return out / "compared", found


def test_every_arm_trains_under_augmentation(compared):
    out, found = compared
    assert [result.arm for result in found.results] == [parse_arm(text).label for text in ARMS]
    for result in found.results:
        folder = out / f"{result.arm.replace(':', '_')}-s0"
        assert (folder / "windows.png").is_file()
        assert (folder / "variation.png").is_file() == (result.arm not in ("cpng", parse_arm(SEARCH).label))
        assert all(torch.isfinite(p).all() for p in load_run(folder).model.parameters())


def test_windows_of_cpng_are_written_down(compared):
    out, _ = compared
    found = rows(out / "cpng-s0")
    assert tuple(found[0]) == CPNG.columns
    assert {row["iteration"] for row in found} == {"0", "3"}
    layers = load_run(out / "cpng-s0").windows.sites
    assert len(found) == 2 * 4 * len(layers)
    moved = {row["window"] for row in found if row["iteration"] == "3"}
    assert len(moved) > 1
    for row in found:
        assert 0.5 <= float(row["window"]) <= 2.0
        if 0.5 < float(row["window"]) < 2.0:
            first = next(r for r in found if r["layer"] == row["layer"])
            assert float(row["share"]) == pytest.approx(float(first["share_before"]), abs=1e-6)


def test_temperatures_of_dspike_are_written_down_and_come_back(compared):
    out, _ = compared
    folder = out / f"{parse_arm(SEARCH).label.replace(':', '_')}-s0"
    found = rows(folder)
    assert tuple(found[0]) == DspikeSearch.columns
    assert {row["window"] for row in found} == {"0.5"}
    assert float(found[-1]["temperature"]) in (1.0, 2.0, 3.0, 4.0, 5.0)
    assert {row["temperature_before"] for row in found if row["iteration"] == "0"} == {"3.0"}
    task = load_run(folder)
    assert {site.surrogate.temperature for site in task.windows.sites.values()} == {
        float(found[-1]["temperature"])
    }


@pytest.mark.parametrize("arm", ["cpng", SEARCH])
def test_an_interrupted_run_resumes_to_the_same_numbers(tmp_path, arm):
    config = apply_arm(quick(epochs=2), parse_arm(arm))
    whole = train(config, tmp_path / "whole", quiet=True)
    interrupted(config, tmp_path / "part", 2)
    assert timeless(train(config, tmp_path / "part", resume=True, quiet=True)) == timeless(whole)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"windows.policy": "cpng", "windows.options": {"shar": 1}},
            "of policy 'cpng' takes share, not 'shar'",
        ),
        ({"windows.options": {"share": 0.5}}, "of policy 'a2sg' takes no options, not 'share'"),
        ({"windows.policy": "dspike"}, "surrogate Dspike, not Asymmetric"),
        ({"windows.policy": "cpng", "neuron.name": "integer_lif"}, "neurons with one threshold"),
    ],
)
def test_a_policy_that_does_not_fit_is_told_before_training(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        train(quick(**overrides), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
