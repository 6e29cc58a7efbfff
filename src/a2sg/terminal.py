"""Output that degrades where a terminal or a pipe is not UTF-8."""

from __future__ import annotations

import codecs
import sys
import unicodedata

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
