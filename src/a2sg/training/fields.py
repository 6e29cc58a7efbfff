"""The fields of a recipe: their names, types and descriptions from the dataclasses, and values that fit them.

A value never causes an import or creates an object: it is plain data of its field's type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from a2sg.errors import InputError, require, require_choice
from a2sg.training import plain
from a2sg.training.arguments import UNIONS, plain_part

T = TypeVar("T")

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a mapping such as {name: value}",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    type(None): "null",
}
"""How to describe a value of a type."""


@dataclass(frozen=True)
class Field:
    """A field of a recipe.

    Attributes:
        name: with its groups, separated by dots.
        kind: its type.
        text: its description.
        default: its value if a recipe does not set it.
    """

    name: str
    kind: Any
    text: str
    default: Any

    @property
    def open(self) -> bool:
        """Whether it is a mapping with keys of the user's choice."""
        return get_origin(self.kind) is dict


LARGEST = 1_000_000_000
"""The largest number in options: more than anyone needs, too little to fill a computer's memory."""


def walk(cls: type, prefix: str = "") -> Iterator[Field]:
    """The fields of a dataclass and its groups, in order."""
    texts = _adapter(cls).json_schema()["properties"]
    found = kinds(cls)
    for field in fields(cls):
        kind, name = found[field.name], prefix + field.name
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from walk(kind, f"{name}.")
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield Field(name, kind, texts[field.name].get("description", ""), default)


def kinds(cls: type) -> dict[str, Any]:
    """The fields of a dataclass: name to type."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def choices(kind: Any) -> tuple[str, ...]:
    """The strings that a type allows if it is a choice; else none."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def from_word(word: str, kind: Any, name: str) -> Any:
    """The value of a command-line word for a type: text unchanged, anything else as YAML; not checked."""
    parts = get_args(kind) or (kind,)
    if get_origin(kind) is dict or not (str in parts or choices(kind)):
        return plain.read(word, name)
    if bool in parts and word.isalpha() and isinstance(value := plain.read(word, name), bool):
        return value
    return None if word == "null" and type(None) in parts else word


def fit(kind: type[T], value: Any, name: str = "") -> T:
    """`value` as a value of type `kind`: whole numbers become numbers, and nothing else is converted.

    Args:
        kind: a dataclass of fields, or the type of one.
        value: plain data.
        name: of the field, for errors.

    Raises:
        InputError: if it does not fit: with the field, the value, and what would be right.
    """
    plain.require_plain(value, name)
    adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
    try:
        return adapter.validate_json(json.dumps(value), strict=True)  # JSON holds only plain data
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":  # more than 200 levels
            raise InputError(f"{name or 'a value'} is nested too deeply") from error
        raise _told(kind, first["loc"], first["input"], name) from error


def fit_options(function: Callable[..., Any], options: Mapping[str, Any], group: str) -> dict[str, Any]:
    """`options` converted to the types of a function's parameters, if a file can hold those types.

    Args:
        function: the function or class to be called with them.
        options: plain data by name; the caller handles names that are not parameters.
        group: the name of their group in errors, such as "model.options".

    Raises:
        InputError: if one does not fit.
    """
    hints = {name: plain_part(kind) for name, kind in _hints(function).items() if name in options}
    _require_modest(dict(options), group)
    plainly = {name: kind for name, kind in hints.items() if _is_plain(kind)}
    return {
        name: fit(plainly[name], value, f"{group}.{name}") if name in plainly else value
        for name, value in options.items()
    }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of arguments; for a class, including those that it may pass on to its base classes."""
    if not isinstance(function, type) or is_dataclass(function):
        return get_type_hints(function)
    makers = [cls.__dict__["__init__"] for cls in reversed(function.__mro__) if "__init__" in cls.__dict__]
    return {name: kind for maker in makers for name, kind in get_type_hints(maker).items()}


def _require_modest(value: Any, name: str) -> None:
    """Raise `InputError` for a number in plain data that is too large for an option."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_modest(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            _require_modest(inner, f"{name}[{at}]")
    elif isinstance(value, int | float):
        require(abs(value) <= LARGEST, f"{name} must be at most {LARGEST:,}, not {value}")


def _is_plain(kind: Any) -> bool:
    """Whether a file can hold values of a type."""
    if get_origin(kind) is Literal or kind in WORDS:
        return True
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    return (get_origin(kind) in UNIONS or get_origin(kind) in WORDS) and all(map(_is_plain, parts))


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _told(kind: Any, path: tuple[int | str, ...], value: Any, name: str) -> InputError:
    """The error for a value below `kind`, at `path`."""
    try:
        for key in path:
            if get_origin(kind) in UNIONS and type(None) not in get_args(kind):
                break  # the rest is the union member that was tried, not a name
            group, name = name, f"{name}.{key}" if name else str(key)
            if not is_dataclass(kind):
                kind = next(part for part in reversed(get_args(kind)) if part not in (Ellipsis, type(None)))
                continue
            known = kinds(kind)  # type: ignore[arg-type]
            require_choice("field", name, [f"{group}.{field}" if group else field for field in known])
            kind = known[str(key)]
        if choices(kind) and isinstance(value, str):
            require_choice(name, value, choices(kind))
    except InputError as error:
        return error
    return InputError(f"{name or 'it'} must be {in_words(kind)}, not {value!r}")


def in_words(kind: Any) -> str:
    """A description of the values of a type."""
    if is_dataclass(kind):
        return f"a group of fields such as {{{next(iter(kinds(kind)))}: ...}}"  # type: ignore[arg-type]
    if choices(kind):
        texts = ", ".join(map(repr, choices(kind)))
        return f"one of the texts {texts}" if len(choices(kind)) > 1 else f"the text {texts}"
    parts = get_args(kind)
    if get_origin(kind) in UNIONS:
        return " or ".join(in_words(part) for part in parts)
    return WORDS[get_origin(kind) or kind]
