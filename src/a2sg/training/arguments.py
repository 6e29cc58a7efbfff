"""Arguments of a class as fields of a recipe: names, types, defaults and descriptions are written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field as Described

Group = TypeVar("Group", bound=type)

UNIONS = (UnionType, Union)
"""Origins of a type written with a bar; which one depends on its parts."""

PLAIN = (bool, int, float, str, dict, list, type(None))
"""Types of values that a file can hold."""


def with_arguments_of(cls: type) -> Callable[[Group], Group]:
    """A decorator, below `dataclass`: adds to a group a field for each option of `cls` that a file can hold.

    They come after its own fields, with the types, defaults and docstring texts of the class. Types that no
    file can hold, such as Python objects, are removed from unions.
    """

    def extend(group: Group) -> Group:
        texts = told(inspect.getdoc(cls) or "")
        kinds = get_type_hints(cls.__init__)  # type: ignore[misc]
        added: dict[str, Any] = {}
        for name, default in _defaults(cls).items():
            added[name] = Annotated[plain_part(kinds[name]), Described(description=texts.get(name))]
            setattr(group, name, default)
        group.__annotations__ = inspect.get_annotations(group) | added
        return group

    return extend


def told(docstring: str) -> dict[str, str]:
    """The Args of a Google-style docstring: name to text."""
    lines = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    parts = re.split(r"^ {4}(\w+(?:, \w+)*): ", lines, flags=re.MULTILINE)[1:]
    return {
        name: " ".join((text[:1].upper() + text[1:]).replace("`", "").split())
        for names, text in zip(parts[::2], parts[1::2], strict=True)
        for name in names.split(", ")
    }


def _defaults(cls: type) -> dict[str, Any]:
    """The arguments that have a default, in order."""
    parameters = inspect.signature(cls).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def plain_part(kind: Any) -> Any:
    """A type without the parts of a union that no file can hold."""
    parts = [part for part in get_args(kind) if get_origin(part) or part in PLAIN]
    return reduce(or_, parts) if parts and get_origin(kind) in UNIONS else kind
