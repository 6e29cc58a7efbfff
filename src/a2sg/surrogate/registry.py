"""Surrogate shapes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from a2sg.registry import Registry
from a2sg.surrogate.shape import Area, Surrogate

Shape = TypeVar("Shape", bound=type[Surrogate])

SURROGATES: Registry[type[Surrogate]] = Registry("surrogate")
"""Names that recipes and the command line use."""


def register_surrogate(name: str) -> Callable[[Shape], Shape]:
    """A decorator that makes a shape known by `name` to recipes, arms, the command line and analyses.

    Put it on a dataclass derived from `Surrogate`, whose fields are its options. `a2sg list surrogates` shows
    the first line of its docstring.

    Raises:
        InputError: if another shape has that name.
    """
    return SURROGATES.register(name)


def side_by_side(area: Area = "free", close: bool = False) -> dict[str, Surrogate]:
    """The shapes that analyses compare, by name: "asymmetric 0.5" has bias 0.5.

    Args:
        area: of all of them.
        close: whether to take the variants in `Surrogate.grid` instead of `Surrogate.examples`.
    """
    return {
        " ".join([name.replace("_", " "), *map(str, options.values())]): shape(area=area, **options)
        for name, shape in SURROGATES.items()
        for options in (close and shape.grid) or shape.examples
    }


def create_surrogate(name: str, **options: float | str) -> Surrogate:
    """A surrogate, by its name in `SURROGATES`.

    Raises:
        InputError: for an unknown name, or an option that the shape does not take.
    """
    made: Surrogate = SURROGATES.create(name, **options)
    return made
