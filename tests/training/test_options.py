"""The command line of a run: every field is an option, and says what a file says."""

import pytest

from a2sg import cli
from a2sg.errors import InputError
from a2sg.parser import Parser
from a2sg.training.build import build_data, build_model
from a2sg.training.config import RunConfig
from a2sg.training.fields import from_word, walk
from a2sg.training.options import read_run
from a2sg.training.recipe import load_recipe


def described(*words):
    return read_run(Parser("train", "Train."), words)[1]


@pytest.mark.parametrize("command", ["train", "compare"])
def test_help_shows_every_field_and_its_text(capsys, command):
    assert cli.main([command, "--help"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    fields = [field for field in walk(RunConfig) if field.name not in ("recipe", "arm")]
    assert len(fields) > 50
    for field in fields:
        assert field.text
        assert f"--{field.name}" in shown
        assert "".join(field.text.split()) in shown


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["--epochs", "3"], {"epochs": 3}),
        (["--epochs=3"], {"epochs": 3}),
        (["--epochs", "3", "--epochs", "4"], {"epochs": 4}),
        (["--precision", "32"], {"precision": "32"}),
        (["--windows.spatial", "false"], {"windows.spatial": False}),
        (["--optimizer.lr", "1e-3"], {"optimizer.lr": 0.001}),
        (["--optimizer.clip_norm", "null"], {"optimizer.clip_norm": None}),
        (["--model.weights", "runs/2026: x"], {"model.weights": "runs/2026: x"}),
        (["--model.weights", "null"], {"model.weights": None}),
        (["--data.name", "null"], {"data.name": "null"}),
        (["--neuron.options.decay", "5e-1"], {"neuron.options": {"decay": 0.5}}),
        (["--neuron.options.learn", "threshold"], {"neuron.options": {"learn": "threshold"}}),
        (["--data.options.limit", "null"], {"data.options": {"limit": None}}),
        (["--data.options.image_size", "[72, 96]"], {"data.options": {"image_size": [72, 96]}}),
        (["--data.options", "{a: 1, b: [x]}"], {"data.options": {"a": 1, "b": ["x"]}}),
        (["--data.options.a.b.c", "1"], {"data.options": {"a": {"b": {"c": 1}}}}),
        (["--data.options.a=1", "--data.options={}", "--data.options.a=2"], {"data.options": {"a": 2}}),
        (["--loss.regularizers", "{im: 1e-3}"], {"loss.regularizers": {"im": 0.001}}),
        (["--loss.regularizers.im", "1"], {"loss.regularizers": {"im": 1.0}}),
    ],
)
def test_an_option_is_the_field_of_a_file(words, overrides):
    assert described("digits", *words) == load_recipe("digits", overrides)
    assert described(*words, "digits") == load_recipe("digits", overrides)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], r"a2sg train has no option '--epoch' \(did you mean '--epochs'\?\)"),
        (["--epochs"], "--epochs: expected one argument"),
        (["--epochs", "3.5"], "epochs must be a whole number, not 3.5"),
        (["--epochs", "[1"], "--epochs is broken YAML"),
        (["--epochs.x", "1"], "no option '--epochs.x"),
        (["--data.options..x", "1"], "no option '--data.options..x"),
        (["--data.options.", "1"], "no option '--data.options."),
        (["--model", "{name: mlp_small}"], "no option '--model"),
        (["--recipe", "x"], "no option '--recipe"),
        (["--windows.search", "bays"], "did you mean 'bayes'"),
        (["--data.options", "3"], "data.options must be a mapping"),
        (["digits", "again"], "does not take 'again'"),
    ],
)
def test_a_wrong_option_is_told(words, message):
    with pytest.raises(InputError, match=message):
        described(*words)


def test_every_command_tells_in_one_line(capsys):
    for command in cli.COMMANDS:
        assert cli.main([command, "--colour", "red"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("a2sg: error: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("word", ["a #b", "[x", "'quoted'", "a: b: c", "runs/x", "~"])
def test_text_is_taken_as_it_is(word):
    for kind in (str, str | None, bool | str):
        assert from_word(word, kind, "--name") == word
    assert from_word("null", str | None, "--name") is None
    assert from_word("null", str, "--name") == "null"
    assert from_word("False", bool | str, "--name") is False


def built(overrides):
    config = load_recipe("digits", {"model.name": "mlp_small", **overrides})
    return build_model(config, build_data(config))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"neuron.options.learn": 3}, "neuron.options.learn must be text or a list, not 3"),
        ({"neuron.options.learn": "window"}, "unknown constant to learn 'window'"),
        ({"neuron.name": "if", "neuron.options.threshold": "1"}, "neuron.options.threshold must be a number"),
        ({"neuron.name": "if", "neuron.options.decay": 0.5}, "takes threshold, .*, not 'decay'"),
        ({"model.options.hidden": 3}, "model.options.hidden must be a list, not 3"),
        ({"model.options.hidden": [8, "x"]}, "model.options.hidden.1 must be a whole number, not 'x'"),
        ({"model.name": "vgg_small", "model.options.width": "x"}, "model.options.width must be a number"),
        ({"model.name": "vgg_small", "model.options.width": 1e300}, "must be at most 1,000,000,000, not 1e"),
        ({"model.options.hidden": [10**9, 10**9]}, "need more memory than is available"),
        ({"neuron.options.decay": "x"}, "neuron.options.decay must be .*, not 'x'"),
        ({"surrogate.options.bias": [1]}, r"surrogate.options.bias must be a number, not \[1\]"),
        ({"data.name": "cifar10", "data.options.limit": "x"}, "data.options.limit must be a whole num"),
        ({"data.name": "nmnist", "data.options.image_size": 10**6}, "image_size must be at most 16384"),
        ({"data.name": "image_folder", "data.options.image_size": 10**6}, "image_size must be at most 16384"),
        ({"data.name": "imagenet", "data.options.image_size": 10**6}, "image_size must be at most 16384"),
    ],
)
def test_options_of_what_is_named_have_its_types(overrides, message, tmp_path):
    if "data.name" in overrides:
        overrides = {"data.options.source": str(tmp_path), **overrides}
    with pytest.raises(InputError, match=message):
        built(overrides)
