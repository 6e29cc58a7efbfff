"""Things chosen by name: functions and classes, the first docstring line as description."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from a2sg.errors import InputError, nearest, require, require_choice

T = TypeVar("T")
Added = TypeVar("Added")

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
"""The names that a recipe, an arm and a word on the command line can hold."""


class Registry(dict[str, T]):
    """Things by the names that recipes and the command line use.

    Args:
        kind: what they are, as errors call it.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[Added], Added]:
        """A decorator that adds what it is put on, unchanged.

        Raises:
            InputError: for a name that recipes cannot hold, or that is already taken.
        """
        ok = isinstance(name, str) and NAME.fullmatch(name) is not None
        require(ok, f"the name of a {self.kind} must be letters, digits, '_', '-' and '.', not {name!r}")

        def add(thing: Added) -> Added:
            self.add(name, thing)  # type: ignore[arg-type]
            return thing

        return add

    def add(self, name: str, thing: T) -> None:
        """Add a thing; the same one may be added again."""
        known = self.setdefault(name, thing)
        require(known == thing, f"{name!r} is already the name of another {self.kind}: choose another name")

    def find(self, name: str) -> T:
        """The thing called `name`.

        Raises:
            InputError: for an unknown name, with the nearest known one.
        """
        return self[require_known(self.kind, name, self)]

    def create(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the entry `name` with `arguments`, which come first, and the user's `options`.

        Raises:
            InputError: for an unknown name, or an option that the entry does not take.
        """
        entry: Any = self.find(name)
        check_options(f"{self.kind} {name!r}", entry, options, given=len(arguments))
        return entry(*arguments, **options)

    def takes(self, name: str, option: str) -> bool:
        """Whether the entry `name` has an option of this name; False if there is no such entry."""
        entry: Any = self.get(name)
        return entry is not None and option in inspect.signature(entry).parameters

    def names(self, pattern: str = "*") -> list[str]:
        """Sorted names that match a shell pattern such as `vgg*`."""
        return sorted(name for name in self if fnmatchcase(name, pattern))

    def describe(self) -> dict[str, str]:
        """The first docstring line of every thing, by name, in the order in which they were added."""
        return {name: (thing.__doc__ or "").partition("\n")[0] for name, thing in self.items()}


def require_known(kind: str, name: str, names: Collection[str]) -> str:
    """Return `name`; raise `InputError` unless it is one of `names`; users add to these with `--import`."""
    try:
        return require_choice(kind, name, names)
    except InputError as error:
        raise InputError(f"{error}; if it is your own, name its module with --import MODULE") from None


def check_options(
    what: str,
    function: Callable[..., Any],
    options: Iterable[str],
    given: int | set[str] = 0,
    beside: Iterable[str] = (),
) -> None:
    """Raise `InputError` for an option that `function` does not take, with the nearest one it takes.

    Args:
        what: how to call it in the error.
        function: a function or class.
        options: names the user gave.
        given: parameters that are not the user's to set: how many of the first, or their names.
        beside: names taken elsewhere, which a misspelt option may stand for.
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    taken = set(list(parameters)[:given]) if isinstance(given, int) else given
    known = [name for name in parameters if name not in taken]
    for option in options:
        if option not in known:
            hint = nearest(option, [*known, *beside])
            raise InputError(f"{what} takes {', '.join(known) or 'no options'}, not {option!r}{hint}")
