"""The options of a search are the same wherever they are given: in Python, in recipes, and in arms."""

import inspect
import re
from dataclasses import MISSING, fields
from typing import get_args

import pytest

import a2sg
from a2sg.training.config import WindowsConfig
from a2sg.training.fields import kinds
from a2sg.training.policies import POLICIES, fields_of
from a2sg.window.search import SEARCHES

OPTIONS = {
    name: parameter
    for name, parameter in inspect.signature(a2sg.AdaptiveWindows).parameters.items()
    if name != "model"
}
FIELDS = {field.name: field for field in fields(WindowsConfig) if field.name not in ("policy", "options")}


def test_recipes_and_arms_have_the_options_that_python_has():
    assert sorted(FIELDS) == sorted(OPTIONS)
    assert fields_of("a2sg") == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_with_the_same_default(name):
    assert FIELDS[name].default is not MISSING
    assert FIELDS[name].default == OPTIONS[name].default


def test_with_the_same_searches():
    assert set(get_args(kinds(WindowsConfig)["search"])) == set(SEARCHES)


@pytest.mark.parametrize("policy", ["a2sg", "cpng", "dspike"])
def test_every_rule_says_what_each_option_is(policy):
    """Google style: a line for each argument, alone or with others."""
    lines = inspect.getdoc(POLICIES[policy]).partition("Args:")[2].partition("\n\n")[0]
    told = {
        name for names in re.findall(r"^    ([a-z_, ]+):", lines, re.MULTILINE) for name in names.split(", ")
    }
    assert told == set(inspect.signature(POLICIES[policy]).parameters)
