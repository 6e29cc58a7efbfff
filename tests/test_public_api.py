"""Public names and their signatures, written down: a change of one is a decision.

python tests/test_public_api.py    # writes tests/public_api.txt anew
"""

import inspect
import re
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints, is_typeddict

import pytest

ROOT = Path(__file__).parents[1]
WRITTEN = Path(__file__).with_name("public_api.txt")
MODULES = (
    "a2sg",
    "a2sg.errors",
    "a2sg.surrogate",
    "a2sg.neuron",
    "a2sg.window",
    "a2sg.adopt",
    "a2sg.models",
    "a2sg.data",
    "a2sg.baselines",
    "a2sg.memory",
    "a2sg.energy",
    "a2sg.training",
    "a2sg.training.config",
    "a2sg.training.run",
    "a2sg.export",
    "a2sg.analysis",
)
"""What users import; everything else may change without notice."""


def names(module):
    return sorted(import_module(module).__all__)


def lines():
    """A line for each public name, and one for each method and property of a public class."""
    for module in MODULES:
        yield f"# {module}"
        for name in names(module):
            thing = getattr(import_module(module), name)
            if inspect.ismodule(thing):
                continue
            origin = next(other for other in MODULES if name in names(other))
            if origin != module and getattr(import_module(origin), name) is thing:
                yield f"{name} = {origin}.{name}"
            elif inspect.isclass(thing) and issubclass(thing, Enum):
                yield f"{name}: {', '.join(member.name for member in thing)}"
            elif is_typeddict(thing):
                yield f"{name}: {', '.join(sorted(thing.__required_keys__ | thing.__optional_keys__))}"
            elif inspect.isclass(thing):
                yield f"{name}{signature(thing)}"
                yield from (f"    {member}" for member in members(thing))
            elif callable(thing):
                yield f"{name}{signature(thing)}"
            else:
                yield f"{name}: {type(thing).__name__}"


def members(cls):
    """Methods and properties that a class has from this package."""
    fields = getattr(cls, "__dataclass_fields__", {}) if is_dataclass(cls) else {}
    for name in sorted(set(dir(cls)) - set(fields)):
        if name.startswith("_") or name == "extra_repr":
            continue
        owner = next(base for base in cls.__mro__ if name in vars(base))
        thing = vars(owner)[name]
        if not owner.__module__.startswith("a2sg"):
            continue
        if isinstance(thing, property):
            yield name
        elif inspect.isfunction(thing := getattr(thing, "__func__", thing)):
            yield f"{name}{signature(thing)}"


def signature(thing):
    """Names and defaults, without annotations, which each Python writes in its own way."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return "(*args)"
    found = inspect.signature(thing)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in found.parameters.items()
        if name != "self"
    ]
    text = str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return re.sub(r"<(factory|[\w. ]+) ?[^>]*>", "<…>", text)


def test_public_names_and_signatures_are_those_written_down():
    now, before = list(lines()), WRITTEN.read_text(encoding="utf-8").splitlines()
    changed = [f"- {line}" for line in before if line not in now]
    changed += [f"+ {line}" for line in now if line not in before]
    assert now == before, (
        "the public API has changed; if that is meant, say so in CHANGELOG.md and run python "
        "tests/test_public_api.py\n" + "\n".join(changed)
    )


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def named(page):
    """Dotted names in a page: what its API blocks show, what its code imports, what its text names."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    for module, imported in re.findall(r"^\s*from (a2sg[\w.]*) import ([\w, ]+)", text, re.MULTILINE):
        yield from (f"{module}.{name.strip().partition(' ')[0]}" for name in imported.split(","))
    if page.name != "measured.md":  # which says how numbers were made
        yield from re.findall(r"`(a2sg(?:\.\w+)+)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_nothing_private(page):
    """A public module, a name in one, or something that belongs to such a name."""
    for name in named(page):
        parts = name.split(".")
        public = name in MODULES or any(
            ".".join(parts[:at]) in MODULES and parts[at] in names(".".join(parts[:at]))
            for at in range(1, len(parts))
        )
        assert public, f"{name} is not public: {', '.join(MODULES)} are, and what is in their __all__"


def classes(hint):
    """The classes of this package that a type names, also inside another."""
    if inspect.isclass(hint) and hint.__module__.startswith("a2sg"):
        yield hint
    for part in get_args(hint):
        yield from classes(part)


@pytest.mark.parametrize("module", MODULES)
def test_what_calls_return_and_users_subclass_is_public(module):
    public = [getattr(import_module(other), name) for other in MODULES for name in names(other)]
    for name in names(module):
        thing = getattr(import_module(module), name)
        found = []
        if inspect.isclass(thing):
            found = [base for base in thing.__mro__ if base.__module__.startswith("a2sg")]
        elif inspect.isfunction(thing):
            try:
                found = list(classes(get_type_hints(thing).get("return")))
            except NameError:  # of a package that is imported when it is needed
                continue
        for other in found:
            assert any(other is one for one in public), f"{name}: {other} is not public"


if __name__ == "__main__":
    WRITTEN.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(f"written: {WRITTEN.relative_to(ROOT)}")
