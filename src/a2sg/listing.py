"""What there is to choose from, by topic, with a line on each."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import Any


def _recipes() -> dict[str, str]:
    from a2sg.training.recipe import recipes

    return {
        name: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for name, path in recipes().items()
    }


def _models() -> dict[str, str]:
    from a2sg.models import describe_models

    return describe_models()


def _surrogates() -> dict[str, str]:
    from a2sg.surrogate import SURROGATES

    return SURROGATES.describe()


def _neurons() -> dict[str, str]:
    from a2sg.neuron import NEURONS

    return NEURONS.describe()


def _data() -> dict[str, str]:
    from a2sg.data import describe_data

    return describe_data()


def _arms() -> dict[str, str]:
    from a2sg.training.arms import describe_arms

    return describe_arms()


def _objectives() -> dict[str, str]:
    from a2sg.window.objectives import OBJECTIVES

    return {name: _first_line(objective.score) for name, objective in OBJECTIVES.items()}


def _losses() -> dict[str, str]:
    from a2sg.training.losses import LOSSES

    return LOSSES.describe()


def _regularizers() -> dict[str, str]:
    from a2sg.training.regularizers import REGULARIZERS

    return REGULARIZERS.describe()


def _policies() -> dict[str, str]:
    from a2sg.training.policies import POLICIES

    return POLICIES.describe()


def _hosts() -> dict[str, str]:
    from a2sg.adopt.find import HOSTS

    return HOSTS.describe()


def _parts() -> dict[str, str]:
    from a2sg.study.report.parts import PARTS

    return PARTS.describe()


TOPICS: dict[str, Callable[[], dict[str, str]]] = {
    "models": _models,
    "recipes": _recipes,
    "surrogates": _surrogates,
    "neurons": _neurons,
    "data": _data,
    "arms": _arms,
    "objectives": _objectives,
    "losses": _losses,
    "regularizers": _regularizers,
    "policies": _policies,
    "hosts": _hosts,
    "parts": _parts,
}
"""Names and one-line descriptions of what each topic offers."""


def entries(topic: str) -> dict[str, str]:
    """Names and one-line descriptions of what a topic offers."""
    return TOPICS[topic]()


def lines_of(topic: str, columns: int | None = None) -> list[str]:
    """The lines that list a topic; on a terminal, long ones are wrapped to this many columns and indented."""
    found = entries(topic)
    width = max(map(len, found))
    whole = [f"  {entry:<{width}}  {text}".rstrip() for entry, text in found.items()]
    if columns is None:
        return whole
    room = max(columns, width + 24)
    indent = " " * (width + 4)
    wrapped = (
        wrap(line, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in whole
    )
    return [part for parts in wrapped for part in parts]


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").partition("\n")[0]
