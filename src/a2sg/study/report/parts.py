"""The parts of an analysis, in the order of the paper's chain of claims. A new part is a line here."""

from __future__ import annotations

from collections.abc import Callable

from a2sg.study.report.cases import Study
from a2sg.study.report.curvature import curvature
from a2sg.study.report.energy import energy
from a2sg.study.report.fidelity import fidelity
from a2sg.study.report.landscape import landscape
from a2sg.study.report.panel import Section
from a2sg.study.report.theory import theory
from a2sg.study.report.variation import variation

PARTS: dict[str, Callable[[Study], Section]] = {
    "variation": variation,
    "curvature": curvature,
    "landscape": landscape,
    "theory": theory,
    "fidelity": fidelity,
    "energy": energy,
}
