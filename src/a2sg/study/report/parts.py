"""The parts of an analysis, in the order of the paper's chain of claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from a2sg.registry import Registry
from a2sg.study.report.cases import Study
from a2sg.study.report.curvature import curvature
from a2sg.study.report.energy import energy
from a2sg.study.report.fidelity import fidelity
from a2sg.study.report.gain import gain
from a2sg.study.report.landscape import landscape
from a2sg.study.report.panel import Section
from a2sg.study.report.theory import theory
from a2sg.study.report.variation import variation

Part = Callable[[Study], Section]
Kind = TypeVar("Kind", bound=Part)

PARTS: Registry[Part] = Registry("part")


def register_part(name: str) -> Callable[[Kind], Kind]:
    """A decorator that adds a part, with panels of its own, to `a2sg analyze`.

    Put it on a function from `Study`, the runs that are analysed, to `Section`. `a2sg list parts` shows the
    first line of its docstring.

    Raises:
        InputError: if another part has that name.
    """
    return PARTS.register(name)


for _part in (variation, gain, curvature, landscape, theory, fidelity, energy):
    register_part(_part.__name__)(_part)
