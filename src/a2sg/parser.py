"""Parses the words of a command with argparse; a mistake is reported in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from a2sg.errors import InputError, nearest


class Parser(argparse.ArgumentParser):
    """Reads the words after `a2sg COMMAND`; options cannot be shortened.

    Args:
        command: its name.
        description: what it does, for `--help`.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"a2sg {command}", description=description, allow_abbrev=False)
        # Read first of all, in `a2sg.imports`; listed here for --help and for hints.
        self.add_argument("--import", metavar="MODULE", help="import a module that registers your own things")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The options and arguments in `words`.

        Raises:
            InputError: for an unknown option (with the nearest known one), or a word that does not fit.
        """
        chosen, unknown = self.parse_known_args(words)
        if not unknown:
            return chosen
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if option is None:
            words = " ".join(unknown)
            hint = nearest(words.partition("=")[0], self._option_string_actions)
            raise InputError(f"{self.prog} does not take {words!r}{hint}: --help shows what it takes")
        hint = nearest(option, self._option_string_actions)
        raise InputError(f"{self.prog} has no option {option!r}{hint}: --help shows what it has")

    def error(self, message: str) -> NoReturn:
        raise InputError(message)
