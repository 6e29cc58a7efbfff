"""Recipes and checkpoints as a stranger may have changed them: a run, or one line on what is wrong."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from a2sg.data.sets import DATA
from a2sg.models.setting import MODELS
from a2sg.neuron import NEURONS
from a2sg.surrogate import SURROGATES
from a2sg.training.build import build_data
from a2sg.training.checkpoints import read_checkpoint, write_checkpoint
from a2sg.training.config import RunConfig
from a2sg.training.fields import kinds, walk
from a2sg.training.policies import POLICIES, options_of
from a2sg.training.recipe import load_recipe, recipes
from a2sg.training.task import SpikingTask
from mutations import changes, mutated, read_or_told

MEMORY = 4 << 30
OPTIONS = {
    "model": {"mlp_small": MODELS["mlp_small"], "vgg_small": MODELS["vgg_small"]},
    "neuron": dict(NEURONS),
    "surrogate": dict(SURROGATES),
    "data": {"digits": DATA["digits"], "digits_events": DATA["digits_events"]},
}
"""What is named, and so has options, in each group: what can be made here and is small."""

ODD = [
    None,
    True,
    0,
    1,
    -1,
    2,
    10**9,
    2**40,
    2**62,
    2**70,
    0.5,
    -0.5,
    1e300,
    1e-300,
    math.nan,
    math.inf,
    -math.inf,
]
ODD += [
    "",
    "x",
    "../x",
    "a" * 300,
    "\x1b[31m",
    "$x$",
    "1e9",
    [],
    [0],
    [1],
    [-1],
    ["x"],
    [[1]],
    [2, 3],
    {},
    {"x": 1},
]
odd = st.sampled_from(ODD)
FIELDS = [field.name for field in walk(RunConfig)]
GROUPS = sorted({name.rpartition(".")[0] for name in FIELDS} - {""})


def arguments(thing):
    """Names of what a function or class takes."""
    return sorted(set(getattr(thing, "__annotations__", {})) | set(kinds_of(thing))) or ["x"]


def kinds_of(thing):
    try:
        return kinds(thing)
    except TypeError:
        return {}


@st.composite
def overrides(draw):
    """Odd values in up to three places: fields, groups, and options of what is named."""
    values = {"model.name": "mlp_small"}
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(["field", "option", "policy"]))
        if where == "field":
            values[draw(st.sampled_from(FIELDS + GROUPS))] = draw(odd)
        elif where == "policy":
            values["windows.policy"] = policy = draw(st.sampled_from(list(POLICIES)))
            for name in options_of(policy):
                values[f"windows.options.{name}"] = draw(odd)
        else:
            group = draw(st.sampled_from(list(OPTIONS)))
            name = draw(st.sampled_from(sorted(OPTIONS[group])))
            values[f"{group}.name"] = name
            option = draw(st.sampled_from(arguments(OPTIONS[group][name])))
            values[f"{group}.options.{option}"] = draw(odd)
    return values


def made(config):
    """All that is made before a run is trained."""
    task = SpikingTask(config, build_data(config))
    task._optimizer_steps, task._epochs = 10, config.epochs
    return task


def examples(count):
    return settings(max_examples=count, suppress_health_check=list(HealthCheck))


MANY = pytest.param(1500, marks=pytest.mark.slow)


@pytest.mark.parametrize("count", [60, MANY])
def test_odd_values_make_a_run_or_are_told(count):
    @examples(count)
    @given(overrides())
    def run(values):
        read_or_told(lambda: made(load_recipe("digits", values)), MEMORY)

    run()


@pytest.mark.parametrize("count", [60, MANY])
def test_changed_recipes_are_read_or_told(tmp_path, count):
    texts = [path.read_bytes() for path in recipes().values()]
    path = tmp_path / "recipe.yaml"

    @examples(count)
    @given(st.sampled_from(texts), changes)
    def run(text, changed):
        path.write_bytes(mutated(text, changed))
        read_or_told(lambda: load_recipe(str(path)))

    run()


WORDS = [
    "&a",
    "*a",
    "<<",
    ":",
    "-",
    "?",
    "!!",
    "!!python/object:x.y",
    "{",
    "}",
    "[",
    "]",
    ",",
    "|",
    ">",
    "'",
    '"',
]
WORDS += [
    "\n",
    "\n  ",
    "#",
    "%YAML 1.1\n",
    "---\n",
    "x",
    "1",
    "0x",
    "1e",
    "1:1",
    "~",
    ".nan",
    "=",
    "\\x1b",
    "\x85",
]


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.slow)])
def test_any_words_of_yaml_are_read_or_told(tmp_path, count):
    path = tmp_path / "recipe.yaml"

    @examples(count)
    @given(st.lists(st.sampled_from([*WORDS, *kinds(RunConfig)]), max_size=40).map(" ".join))
    def run(text):
        path.write_text(text, encoding="utf-8")
        read_or_told(lambda: load_recipe(str(path)))

    run()


@pytest.mark.parametrize("count", [30, MANY])
def test_changed_checkpoints_are_read_or_told(tmp_path, count):
    path = tmp_path / "checkpoints" / "epoch-1.ckpt"
    state = {"state_dict": {"a": torch.arange(6.0), "b": torch.ones(2, 2)}, "epoch": 3, "callbacks": {}}
    write_checkpoint(state, path)
    content = path.read_bytes()

    @examples(count)
    @given(changes)
    def run(changed):
        path.write_bytes(mutated(content, changed))
        read_or_told(lambda: read_checkpoint(path))

    run()
