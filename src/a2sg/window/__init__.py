"""Adaptive windows: objectives, searches, `AdaptiveWindows`, and the base class of rules that set windows."""

from a2sg.kernels.sums import Sums
from a2sg.window.adaptive import AdaptiveWindows
from a2sg.window.joining import JoinableWindows
from a2sg.window.objectives import BEHIND, Objective, gain, register_objective, sgv, tgc
from a2sg.window.observer import Observer
from a2sg.window.policy import WindowPolicy
from a2sg.window.search import Bayes, Exact, Grid, Random, Search
from a2sg.window.site import Site

__all__ = [
    "BEHIND",
    "AdaptiveWindows",
    "Bayes",
    "Exact",
    "Grid",
    "JoinableWindows",
    "Objective",
    "Observer",
    "Random",
    "Search",
    "Site",
    "Sums",
    "WindowPolicy",
    "gain",
    "register_objective",
    "sgv",
    "tgc",
]
