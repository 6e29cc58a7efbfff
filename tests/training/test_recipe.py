"""Recipes: found, read, overridden, checked."""

import math
from dataclasses import asdict
from datetime import date

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from a2sg.errors import InputError
from a2sg.training import plain
from a2sg.training.config import RunConfig
from a2sg.training.recipe import load_recipe, read_config, recipes, write_config


def test_every_built_in_recipe_loads_and_says_what_it_is():
    for name, path in recipes().items():
        assert load_recipe(name).recipe == name
        assert path.read_text(encoding="utf-8").startswith("# ")


def test_values_of_the_file_and_overrides_arrive():
    values = yaml.safe_load(recipes()["digits"].read_text(encoding="utf-8"))
    config = load_recipe("digits", {"windows.every": 7, "surrogate.options.bias": 0.8, "epochs": 3})
    assert config.optimizer.lr == values["optimizer"]["lr"]
    assert config.windows.every == 7
    assert config.surrogate.options == {"bias": 0.8}
    assert config.epochs == 3


def test_a_search_may_be_the_only_one(tmp_path):
    config = load_recipe("digits", {"windows.every": None, "windows.start": 0})
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml").windows.every is None


def test_what_a_recipe_leaves_out_has_its_default(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("epochs: 2\n", encoding="utf-8")
    config = load_recipe(str(path))
    assert config.recipe == "short"
    assert asdict(config) == {**asdict(RunConfig()), "recipe": "short", "epochs": 2}


def test_config_survives_its_file(tmp_path):
    config = load_recipe("digits", {"seed": 3})
    config.arm = "a2sg"
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def doubled(text, levels=40):
    """YAML in which each value holds the one before twice, over and over."""
    anchors = ", ".join(f"x{at}: &x{at} {text % ((at - 1,) * 2)}" for at in range(1, levels))
    return f"{{x0: &x0 {{k: 1}}, {anchors}}}"


BOMB, MERGES = doubled("[*x%d, *x%d]"), doubled("{<<: [*x%d, *x%d]}")


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
        ("windows: {search: bays}\n", "unknown windows.search 'bays' .did you mean 'bayes'"),
        ("modle: {name: vgg_small}\n", "unknown field 'modle' .did you mean 'model'"),
        ("model: {nam: vgg_small}\n", "unknown field 'model.nam' .did you mean 'model.name'"),
        ("model: vgg_small\n", "model must be a group of fields such as {name: ...}, not 'vgg_small'"),
        ("model:\n", "model must be a group of fields"),
        ("epochs: many\n", r"recipe \S*broken.yaml: epochs must be a whole number, not 'many'"),
        ("epochs: 3.0\n", "epochs must be a whole number, not 3.0"),
        ("epochs: true\n", "epochs must be a whole number, not True"),
        ("epochs: '3'\n", "epochs must be a whole number, not '3'"),
        ("keep_every: often\n", "keep_every must be a whole number or null, not 'often'"),
        ("optimizer: {lr: true}\n", "optimizer.lr must be a number, not True"),
        ("windows: {spatial: 1}\n", "windows.spatial must be true or false or text, not 1"),
        ("precision: 32\n", "precision must be one of the texts '32', 'bf16', '16', not 32"),
        ("model: {weights: 3}\n", "model.weights must be text or null, not 3"),
        ("model: {options: [1]}\n", r"model.options must be a mapping such as .*, not \[1\]"),
        ("loss: {regularizers: {im: high}}\n", "loss.regularizers.im must be a number, not 'high'"),
        ("data: {options: {1: 2}}\n", "data.options must have text as keys, not 1"),
        ("data: {options: {x: {y: [!!set {a}]}}}\n", r"data.options.x.y\[0\] must be null, .* \(set\)"),
        ("data: {options: {x: !!binary aGk=}}\n", r"data.options.x must be null, .* \(bytes\)"),
        ("data: {options: {x: !!timestamp 2026-11-26}}\n", r"not 2026-11-26 \(date\)"),
        ("data: {options: {x: &a [*a]}}\n", "nested too deeply, or holds itself"),
        ("data: {options: {x: " + "[" * 300 + "]" * 300 + "}}\n", "nested too deeply"),
        ("data: {options: {x: " + "[" * 3000 + "]" * 3000 + "}}\n", "nested too deeply"),
        ("epochs: " + "9" * 5000 + "\n", "too long"),
        ("epochs: 0x" + "f" * 5000 + "\n", r"epochs must be a whole number between -2\*\*63 and 2\*\*63"),
        ("epochs: !!int x\n", "does not fit its tag"),
        ("epochs: !!bool x\n", "does not fit its tag"),
        ('recipe: "a\\0"\n', "an invalid Unicode character or a control character"),
        ('recipe: "\\ud800"\n', "an invalid Unicode character or a control character"),
        ('model: {name: "\\e[31m"}\n', "model.name has an invalid Unicode character or a control character"),
        (
            'data: {options: {"\\x9b": 1}}\n',
            "data.options has an invalid Unicode character or a control character",
        ),
        ("recipe: ..\\elsewhere\n", "recipe must be a name such as digits"),
        ("recipe: " + "a" * 101 + "\n", "recipe must have at most 100 characters, not 101"),
        ("recipe: <script>\n", "recipe must be a name such as digits"),
        ("arm: $x$\n", "arm must be a name such as digits"),
        ("arm: " + "a" * 201 + "\n", "arm must have at most 200 characters, not 201"),
        ("optimizer: {lr: .inf}\n", "optimizer.lr must be a finite number, not inf"),
        ("optimizer: {warmup_epochs: .inf}\n", "optimizer.warmup_epochs must be a finite number, not inf"),
        ("model: {options: {x: [-.inf]}}\n", r"model.options.x\[0\] must be a finite number, not -inf"),
        ("seed: 4294967296\n", "seed must be at most 4294967295, not 4294967296"),
        ("epochs: 1000000000\n", "epochs must be at most 1000000, not 1000000000"),
        ("accumulate: 1000000000\n", "accumulate must be at most 1000000,"),
        ("model: {steps: 1000000000}\n", "model.steps must be at most 100000,"),
        ("data: {batch_size: 1000000000}\n", "data.batch_size must be at most 1000000,"),
        ("data: {workers: 1000000000}\n", "data.workers must be at most 1000,"),
        ("windows: {candidates: 1000000000}\n", "windows.candidates must be at most 100000,"),
        ("windows: {biases: 1000000000}\n", "windows.biases must be at most 1000,"),
        ("augment: {crop_padding: 1000000000}\n", "augment.crop_padding must be at most 10000,"),
        ("augment: null\n", "augment must be a group of fields"),
        ("windows: [1]\n", "windows must be a group of fields"),
        ("data: {options: null}\n", "data.options must be a mapping"),
        (f"data: {{options: {BOMB}}}\n", "at most 100,000 values, with aliases expanded"),
        (f"data: {{options: {MERGES}}}\n", "at most 100,000 values, with aliases expanded"),
        ("data: {options: {x: &a {y: *a}}}\n", "nested too deeply, or holds itself"),
        ("x: '" + "a" * 300_000 + "'\n", r"has 293 kB: the limit for such files is 256 kB"),
        ("? [[1]]\n: 2\n", "is broken YAML"),
        ("recipe: ../elsewhere\n", "recipe must be a name such as digits, .* not '../elsewhere'"),
    ],
)
def test_a_broken_recipe_is_told_in_words(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
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


def test_numbers_and_text_are_what_they_look_like(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "optimizer: {lr: 1e-3, power: 2}\ndata: {options: {source: 2026-11-26, limit: 1e2}}\n",
        encoding="utf-8",
    )
    config = load_recipe(str(path))
    assert config.optimizer.lr == 0.001
    assert type(config.optimizer.power) is float
    assert config.data.options == {"source": "2026-11-26", "limit": 100.0}


def test_overrides_are_checked_as_a_file_is():
    with pytest.raises(InputError, match=r"data\.options\.day must be .*, not 2026-11-26 \(date\)"):
        load_recipe("digits", {"data.options.day": date(2026, 11, 26)})
    with pytest.raises(InputError, match=r"model\.options\.width is 0\.5: it has no x to set"):
        load_recipe("digits", {"model.options.width": 0.5, "model.options.width.x": 1})
    with pytest.raises(InputError, match=r"unknown field 'epoch' .did you mean 'epochs'"):
        load_recipe("digits", {"epoch": 3})
    assert load_recipe("digits", {"data.options.size": (72, 96)}).data.options == {"size": [72, 96]}
    options = load_recipe("digits", {"data.options": {"a": 1}, "data.options.b.c": 2}).data.options
    assert options == {"a": 1, "b": {"c": 2}}


text = st.text(st.characters(exclude_categories=("Cs", "Cc"))) | st.sampled_from(
    ["1e-3", "1E5", ".5e3", "2026-11-26", "yes", "null", "~", "0o7", "010", "1_0", "12:30", "<<", "=", "!!x"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(text, values, max_size=3))
def test_any_plain_data_survive_their_file(options):
    plain.require_plain(options, "options")
    assert plain.read(plain.write(options), "options") == options
    config = load_recipe("digits", {"data.options": options})
    assert config.data.options == options
    assert math.isnan(plain.read(plain.write({"x": math.nan}), "x")["x"])
