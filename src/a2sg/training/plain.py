"""Plain data: null, true and false, numbers, text, and lists and mappings of these; as YAML."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from a2sg.errors import InputError, require

FLOAT, DATE = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"
SCIENTIFIC = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers such as 1e-3, which YAML 1.1 reads as text."""

NO_TEXT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that JSON, YAML or file names cannot hold, and those that control a terminal."""

MOST = 100_000
"""Maximum number of values in a document; an alias counts with everything it stands for."""
MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012
        # No dates: a folder may be called 2026-11-26. No merges: they can grow without limit.
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (DATE, MERGE)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would read as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(FLOAT, SCIENTIFIC, list("-+.0123456789"))


def read(text: str, source: str) -> Any:
    """The value of YAML text. Tags can only make plain data, a date or a set.

    Args:
        text: one document.
        source: what the text is, for errors.

    Raises:
        InputError: if it is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        line = f" in line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or "no valid YAML"
        raise InputError(f"{source} is broken YAML{line}: {problem}") from error
    except RecursionError as error:
        raise InputError(f"{source} is nested too deeply to be read") from error
    except Exception as error:  # a tag, such as !!int, on text that does not fit
        raise InputError(f"{source} is broken YAML: a value does not fit its tag or is too long") from error


def write(values: Any) -> str:
    """YAML from which `read` gets the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def require_plain(value: Any, name: str) -> None:
    """Raise `InputError` unless `value`, called `name`, is plain data."""
    try:
        _require(value, name, itertools.count(1))
    except RecursionError as error:
        raise InputError(f"{name or 'a value'} is nested too deeply, or holds itself") from error


def _require(value: Any, name: str, count: Iterator[int]) -> None:
    require(next(count) <= MOST, f"a recipe may have at most {MOST:,} values, with aliases expanded")
    if isinstance(value, dict):
        for key, inner in value.items():
            require(isinstance(key, str), f"{_called(name)} must have text as keys, not {key!r}")
            _require(key, name, count)
            _require(inner, f"{name}.{key}" if name else key, count)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            _require(inner, f"{name}[{at}]", count)
    elif isinstance(value, str):
        require(
            NO_TEXT.search(value) is None,
            f"{_called(name)} has an invalid Unicode character or a control character: {value!r}",
        )
    elif isinstance(value, int):
        require(abs(value) < 2**63, f"{_called(name)} must be a whole number between -2**63 and 2**63")
    elif isinstance(value, float):
        require(math.isfinite(value), f"{_called(name)} must be a finite number, not {value}")
    else:
        require(
            value is None,
            f"{_called(name)} must be null, true or false, a number, text, or a list or mapping of these, "
            f"not {value} ({type(value).__name__})",
        )


def _called(name: str) -> str:
    return name or "it"
