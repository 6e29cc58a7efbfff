"""Output that degrades where a terminal or a pipe is not UTF-8."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from a2sg.errors import require

if TYPE_CHECKING:
    from rich.console import Console

HANDLER = "a2sg.plain"

WORDS = {
    "λ": "lambda",  # which Unicode calls lamda
    "Λ": "Lambda",
    "·": "*",
    "×": "x",
    "±": "+-",
    "‖": "|",
    "√": "sqrt",
    "½": "1/2",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "⌊": "[",
    "⌋": "]",
    "⌈": "[",
    "⌉": "]",
    "…": "...",
    "—": "-",
    "–": "-",
    "→": "->",
    "⊗": "(x)",
}
"""What stands for signs that have no letters in their name."""


def plain_output() -> None:
    """Make standard output and error write what their encoding lacks in ASCII, instead of failing.

    A Windows code page or the C locale has no β: it becomes `beta`.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)


def page(width: int) -> Console:
    """Standard output for tables, as wide as a terminal; in a file or a pipe, `width` characters.

    If the reader of a pipe, such as head, has seen enough, printing raises `BrokenPipeError`, as print does.
    """
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> NoReturn:  # rich would end the process with status 1
            raise BrokenPipeError

    console = Page()
    return console if console.is_terminal else Page(width=width)


def names_in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, where names of files are taken to be ASCII.

    That is so in the C locale if PYTHONUTF8=0 turns the mode off. A name like `über` is then not text that a
    page or a recipe can hold, and one from a recipe cannot be opened. What is printed stays ASCII.
    """
    again = [sys.executable, "-X", "utf8"]
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and sys.orig_argv[1:3] != again[1:]:
        os.environ["PYTHONUTF8"] = "1"  # for child processes
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.execv(sys.executable, [*again, *sys.orig_argv[1:]])


def require_text(words: Sequence[str]) -> None:
    """Raise `InputError` for a word that is not UTF-8: neither recipes, pages nor pictures can hold it."""
    for word in words:
        require(
            word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word),
            f"{word!r} is not UTF-8: rename that file or folder, as `convmv` does for many at once",
        )


def spelled(letter: str) -> str:
    """A character in ASCII: `beta` for β, `2` for ², `?` for what has no such spelling."""
    if unicodedata.combining(letter):
        return ""
    if letter in WORDS:
        return WORDS[letter]
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if plain:
        return plain
    words = unicodedata.name(unicodedata.normalize("NFKC", letter), "").split()
    if words[:1] == ["GREEK"] and "LETTER" in words:
        return words[-1].lower() if "SMALL" in words else words[-1].capitalize()
    return "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelled, error.object[error.start : error.end])), error.end


codecs.register_error(HANDLER, _replace)
