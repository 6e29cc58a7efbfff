"""The options of a search stand in `AdaptiveWindows` alone: recipes, arms and the help read them there."""

import inspect
from dataclasses import fields
from typing import get_args

import pytest

import a2sg
from a2sg.training.arguments import told
from a2sg.training.config import WindowsConfig
from a2sg.training.fields import kinds, walk
from a2sg.training.policies import POLICIES, fields_of
from a2sg.window.search import SEARCHES

OPTIONS = {
    name: parameter
    for name, parameter in inspect.signature(a2sg.AdaptiveWindows).parameters.items()
    if name != "model"
}
FIELDS = {field.name: field for field in fields(WindowsConfig) if field.name not in ("policy", "options")}
TEXTS = {field.name: field.text for field in walk(WindowsConfig)}


def test_recipes_and_arms_have_the_options_that_python_has():
    assert list(FIELDS) == list(OPTIONS)
    assert fields_of("a2sg") == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_with_the_same_default(name):
    assert FIELDS[name].default == OPTIONS[name].default


@pytest.mark.parametrize("name", OPTIONS)
def test_with_its_text(name):
    first = TEXTS[name].split()[-1]
    assert first in inspect.getdoc(a2sg.AdaptiveWindows).replace("`", "").split()
    assert len(TEXTS[name]) > 10


def test_a_file_can_name_an_objective_but_not_hold_one():
    assert set(get_args(kinds(WindowsConfig)["spatial"])) == {bool, str}


def test_with_the_same_searches():
    assert set(get_args(kinds(WindowsConfig)["search"])) == set(SEARCHES)


@pytest.mark.parametrize("policy", ["a2sg", "cpng", "dspike"])
def test_every_rule_says_what_each_option_is(policy):
    """Google style: a line for each argument, alone or with others."""
    assert (
        told(inspect.getdoc(POLICIES[policy])).keys() == inspect.signature(POLICIES[policy]).parameters.keys()
    )


def test_what_a_docstring_says_of_its_arguments():
    docstring = """What it is.

Args:
    one: an `int`,
        in two lines.
    two, three: the same for both: with a colon.

Raises:
    four: no argument.
"""
    assert told(docstring) == {
        "one": "An int, in two lines.",
        "two": "The same for both: with a colon.",
        "three": "The same for both: with a colon.",
    }
    assert told("Without any.") == {}
