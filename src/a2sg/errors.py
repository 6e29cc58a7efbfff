"""The one error that means: the input was wrong, not the program."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

__all__ = [
    "InputError",
    "called",
    "many",
    "nearest",
    "one_line",
    "require",
    "require_choice",
    "require_count",
    "require_gradient",
    "require_positive",
    "require_share",
    "require_size",
    "shortened",
    "told",
]

SIDE = 16_384
"""Largest height or width of an image, in pixels."""
MEANT = {"gpu": "cuda"}
"""Words that resemble a known one only by chance, and what they mean."""
LONGEST = 300
"""Characters of a library's own message that are worth a reader's time."""


class InputError(ValueError):
    """Raised for a value that cannot work: says what was wrong, what it was, and what would be right.

    The command line prints its message as one line and exits with status 2.
    """


def require(condition: bool, message: str) -> None:
    """Raise `InputError` with `message` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def require_positive(name: str, value: float) -> float:
    """Return `value` as a float; raise `InputError` unless it is a finite number above 0."""
    number = _number(name, value)
    require(math.isfinite(number) and number > 0, f"{name} must be a number above 0, not {value}")
    return number


def require_share(name: str, value: float) -> float:
    """Return `value` as a float; raise `InputError` unless it is a number from 0 to 1."""
    number = _number(name, value)
    require(0 <= number <= 1, f"{name} must be between 0 and 1, not {value}")
    return number


def require_count(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """Return `value` as an int; raise `InputError` unless it is a whole number from `least` to `most`."""
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(ok, f"{name} must be a whole number of at least {least}, not {value!r}")
    require(most is None or value <= most, f"{name} must be at most {most}, not {value!r}")
    return value


def require_gradient(loss: Any) -> None:
    """Raise `InputError` for a loss, a tensor, that no backward pass can start from."""
    require(
        loss.requires_grad,
        "the loss has no gradient: is it computed under torch.no_grad(), or are all parameters frozen?",
    )


def require_size(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of one number for both, or of the pair; raise `InputError` for anything else."""
    sides = value if isinstance(value, Sequence) else (value, value)
    if isinstance(sides, str) or len(sides) != 2:
        raise InputError(f"{name} must be a number or a pair (height, width), not {value!r}")
    height, width = (require_count(name, side, most=SIDE) for side in sides)
    return height, width


def require_choice(name: str, value: str, choices: Collection[str]) -> str:
    """Return `value`; raise `InputError` with the nearest choice unless it is one of `choices`."""
    if value in choices:
        return value
    hint = nearest(str(value), choices)
    raise InputError(f"unknown {name} {value!r}{hint}: choose one of {', '.join(sorted(set(choices)))}")


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that `word` may be a misspelling of, as an error asks for it; "" if there is none."""
    # Without the dashes of options, which make all of them look alike.
    bare = {one.lstrip("-"): one for one in known}
    near = get_close_matches(MEANT.get(word, word).lstrip("-"), bare, n=1)
    return f" (did you mean {bare[near[0]]!r}?)" if near else ""


def many(number: int, one: str, ending: str = "s") -> str:
    """A number of things in words: "1 step", "4 steps", "2 searches" (with the ending "es")."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}{ending}"


def called(name: str) -> str:
    """What errors call a module that has this name in its model; the model itself has none."""
    return f"layer {name!r}" if name else "the model"


@contextmanager
def told(message: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Raise whatever a library raises inside as an `InputError`: `message`, with the reason in one line.

    Put it around the one call whose input the user may have got wrong, such as a file. `InputError`s pass
    unchanged, and so do exceptions that are meant to stop the program.

    Args:
        message: what is wrong, with its name, such as "x.png is damaged".
        kind: which `InputError`.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        # A panic in a Rust library is not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{message} ({_reason(error)})") from error


def one_line(text: object) -> str:
    """Text for a terminal: in one line, and without characters that would do anything there."""
    line = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def shortened(text: str, most: int) -> str:
    """The text; if it has more than `most` characters, only its beginning and its end."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


def _reason(error: BaseException) -> str:
    said = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
    text = one_line(f"{type(error).__name__}: {said}" if said else type(error).__name__)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _number(name: str, value: float) -> float:
    trained = getattr(value, "requires_grad", False)
    require(not trained, f"{name} must be a number, not a tensor to be trained: no gradient would reach it")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}") from None
