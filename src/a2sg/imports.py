"""`--import MODULE`: makes what the user's module registers known by name.

Only what the user types is imported. Recipes and run folders, which need not be trusted, can only name what
is registered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from a2sg.errors import InputError, require

OPTION = "--import"

imported: list[str] = []
"""Modules that were imported in this way in this process."""


def split_imports(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The modules that `--import MODULE` and `--import=MODULE` name, and all other words.

    Raises:
        InputError: for anything that is not the name of a module.
    """
    names, others = [], []
    rest = iter(words)
    for word in rest:
        option, equals, name = word.partition("=")
        if option != OPTION:
            others.append(word)
            continue
        name = name if equals else next(rest, "")
        require(
            all(part.isidentifier() for part in name.split(".")),
            f"{OPTION} takes the name of a module such as my_package.nets, not {name!r}",
        )
        names.append(name)
    return names, others


def import_modules(names: Sequence[str]) -> None:
    """Import modules by name, of the current folder too.

    Raises:
        InputError: for one that does not exist, or that fails.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.append(here)  # last, so that nothing in it stands in for what is installed
    for name in names:
        try:
            import_module(name)
        except InputError as error:
            raise InputError(f"{OPTION} {name}: {error}") from error
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise InputError(f"{OPTION} {name} failed: {error}") from error
            file = name.removesuffix(".py")
            hint = f"give the module's name, {file}" if file != name else "is it here, or on PYTHONPATH?"
            raise InputError(f"{OPTION} {name}: there is no module {error.name!r}: {hint}") from error
        except (Exception, SystemExit) as error:
            raise InputError(f"{OPTION} {name} failed: {type(error).__name__}: {error}") from error
        imported.append(name)
