"""Things chosen by name: an entry function each, its first docstring line as description."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from a2sg.errors import InputError, require_choice

Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry:
    """Entry functions by their names.

    Args:
        kind: what they make, as errors call it.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Callable[..., Any]] = {}

    def register(self, entry: Entry) -> Entry:
        """Add an entry function under its own name; a decorator."""
        assert entry.__name__ not in self.entries, f"two entries are called {entry.__name__}"
        self.entries[entry.__name__] = entry
        return entry

    def create(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the entry `name` with `arguments`, which come first, and the user's `options`.

        Raises:
            InputError: for an unknown name, or an option that the entry does not take.
        """
        entry = self.entries[require_choice(self.kind, name, self.entries)]
        check_options(f"{self.kind} {name!r}", entry, options, given=len(arguments))
        return entry(*arguments, **options)

    def takes(self, name: str, option: str) -> bool:
        """Whether the entry `name` has an option of this name; no entry has none."""
        return name in self.entries and option in inspect.signature(self.entries[name]).parameters

    def names(self, pattern: str = "*") -> list[str]:
        """Sorted names that match a shell pattern such as `vgg*`."""
        return sorted(name for name in self.entries if fnmatchcase(name, pattern))

    def describe(self) -> dict[str, str]:
        """The first docstring line of every entry, by sorted name."""
        return {name: (self.entries[name].__doc__ or "").partition("\n")[0] for name in self.names()}


def check_options(
    what: str, function: Callable[..., Any], options: Iterable[str], given: int | set[str] = 0
) -> None:
    """Raise `InputError` for an option that `function` does not take.

    Args:
        what: how to call it in the error.
        function: a function or class.
        options: names the user gave.
        given: parameters that are not the user's to set: how many of the first, or their names.
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    taken = set(list(parameters)[:given]) if isinstance(given, int) else given
    known = [name for name in parameters if name not in taken]
    for option in options:
        if option not in known:
            raise InputError(f"{what} takes {', '.join(known) or 'no options'}, not {option!r}")
