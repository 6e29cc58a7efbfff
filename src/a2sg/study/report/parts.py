"""The parts of an analysis, in the order of the paper's chain of claims.

Ours are imported when they are called: they draw, and `import a2sg.analysis` needs no matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from a2sg.registry import Registry
from a2sg.study.report.cases import Study
from a2sg.study.report.panel import Section

Part = Callable[[Study], Section]
Kind = TypeVar("Kind", bound=Part)

PARTS: Registry[Part] = Registry("part")


def register_part(name: str) -> Callable[[Kind], Kind]:
    """A decorator: `a2sg analyze` then has a further part, with panels of its own, after the others.

    It is put on a function from `Study`, the runs that are analysed, to `Section`. The first line of its
    docstring is what `a2sg list parts` says of it.

    Raises:
        InputError: if another part has that name.
    """
    return PARTS.register(name)


@register_part("variation")
def _variation(study: Study) -> Section:
    """SGV, TGC and windows over training; SGV, TGC, CV, sparsity, norm and signal-to-noise now."""
    from a2sg.study.report.variation import variation

    return variation(study)


@register_part("curvature")
def _curvature(study: Study) -> Section:
    """Every kind of curvature of every run, as far as the budget goes."""
    from a2sg.study.report.curvature import curvature

    return curvature(study)


@register_part("landscape")
def _landscape(study: Study) -> Section:
    """Lines through the weights of all layers and of each, and a plane."""
    from a2sg.study.report.landscape import landscape

    return landscape(study)


@register_part("theory")
def _theory(study: Study) -> Section:
    """CV of every shape, κ and the condition, SGV and CV against λmax(F), and the bridge."""
    from a2sg.study.report.theory import theory

    return theory(study)


@register_part("fidelity")
def _fidelity(study: Study) -> Section:
    """Cosines of a run's own surrogate gradient, and of every shape and window, with true gradients."""
    from a2sg.study.report.fidelity import fidelity

    return fidelity(study)


@register_part("energy")
def _energy(study: Study) -> Section:
    """Operations and energy per layer, spikes per layer and step, accuracy and energy of all runs."""
    from a2sg.study.report.energy import energy

    return energy(study)
