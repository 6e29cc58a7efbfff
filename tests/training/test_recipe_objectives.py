"""Objectives by name in recipes, on the command line and in arms, a user's own among them."""

import pytest
import yaml

from a2sg import cli
from a2sg.errors import InputError
from a2sg.parser import Parser
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.build import build_data, build_model, build_windows
from a2sg.training.options import read_run
from a2sg.training.recipe import load_recipe, read_config, write_config
from a2sg.window import Sums, register_objective
from a2sg.window.objectives import OBJECTIVES

QUICK = {"model.name": "mlp_small", "model.options": {"hidden": [8]}, "epochs": 1, "windows.every": 5}


@pytest.fixture
def own():
    yield register_objective("least")(lambda sums: -sums[..., Sums.ABS])
    del OBJECTIVES["least"]


def names(config):
    """The objectives that the run of `config` searches by."""
    windows = build_windows(config, build_model(config, build_data(config)))
    return tuple(part and part.name for part in (windows.spatial, windows.temporal))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("sgv", "tgc")),
        ({"windows.spatial": False}, (None, "tgc")),
        ({"windows.spatial": "std", "windows.temporal": "sgv"}, ("std", "sgv")),
        ({"windows.temporal": "least"}, ("sgv", "least")),
        ({"windows.spread": "std"}, ("std", "tgc")),
        ({"windows.spread": "sgv"}, ("sgv", "tgc")),
        ({"windows.spread": "std", "windows.spatial": False}, (None, "tgc")),
    ],
)
def test_a_recipe_names_them(own, tmp_path, values, expected):
    config = load_recipe("digits", QUICK | values)
    assert names(config) == expected
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config
    words = [f"--{name}={yaml.safe_dump(value).splitlines()[0]}" for name, value in values.items()]
    _, typed = read_run(Parser("train", ""), ["digits", *words])
    assert typed.windows == load_recipe("digits", values).windows


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("a2sg:spatial=least", ("least", "tgc")),
        ("a2sg:spatial=std:temporal=false", ("std", None)),
        ("a2sg:spread=std", ("std", "tgc")),
        ("s-asg:spread=std", ("std", None)),
        ("fixed", (None, None)),
    ],
)
def test_an_arm_names_them(own, arm, expected):
    assert names(apply_arm(load_recipe("digits", QUICK), parse_arm(arm))) == expected


def test_the_former_word_and_the_present_one_are_one_arm():
    config = load_recipe("digits", QUICK)
    former, present = (apply_arm(config, parse_arm(f"a2sg:{word}=std")) for word in ("spread", "spatial"))
    assert former.windows == present.windows


def test_an_unknown_one_is_told_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="unknown spatial 'sgw'"):
        apply_arm(load_recipe("digits", QUICK), parse_arm("a2sg:spatial=sgw"))
    assert cli.main(["train", "digits", "--windows.spatial", "sgw"]) == 2
    assert "did you mean 'sgv'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
