"""Recipes: found, read, overridden, checked."""

from dataclasses import asdict

import pytest
import yaml

from a2sg.errors import InputError
from a2sg.training.config import RunConfig
from a2sg.training.recipe import load_recipe, read_config, recipes, write_config


def test_every_built_in_recipe_loads_and_says_what_it_is():
    for name, path in recipes().items():
        assert load_recipe(name).recipe == name
        assert path.read_text().startswith("# ")


def test_values_of_the_file_and_overrides_arrive():
    values = yaml.safe_load(recipes()["digits"].read_text())
    config = load_recipe("digits", {"windows.every": 7, "surrogate.options.bias": 0.8, "epochs": 3})
    assert config.optimizer.lr == values["optimizer"]["lr"]
    assert config.windows.every == 7
    assert config.surrogate.options == {"bias": 0.8}
    assert config.epochs == 3


def test_what_a_recipe_leaves_out_has_its_default(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("epochs: 2\n")
    config = load_recipe(str(path))
    assert config.recipe == "short"
    assert asdict(config) == {**asdict(RunConfig()), "recipe": "short", "epochs": 2}


def test_config_survives_its_file(tmp_path):
    config = load_recipe("digits", {"seed": 3})
    config.arm = "a2sg"
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: [1, 2\n", "broken YAML in line"),
        ("", "must hold fields"),
        ("- 1\n", "must hold fields"),
        ("modle: {name: vgg_small}\n", "modle"),
        ("model: {nam: vgg_small}\n", "nam"),
        ("epochs: many\n", "many"),
        ("epochs: 0\n", "epochs must be a whole number of at least 1, not 0"),
        ("keep_every: 0\n", "keep_every must be a whole number of at least 1, not 0"),
        ("{epochs: 3, keep_every: 4}\n", "keep_every 4 is more than the 3 epochs"),
        ("data: {batch_size: -1}\n", "batch_size"),
        ("optimizer: {lr: .nan}\n", "lr"),
        ("windows: {search: best}\n", "best"),
    ],
)
def test_a_broken_recipe_is_told_in_words(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(InputError, match=r"no recipe file nowhere/x\.yaml"):
        load_recipe("nowhere/x.yaml")


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"binary\.yaml"):
        load_recipe(str(path))
