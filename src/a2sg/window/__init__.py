"""Adaptive windows: sums per candidate, objectives, searches, `AdaptiveWindows`, and what rules share."""

from a2sg.window.adaptive import AdaptiveWindows
from a2sg.window.objectives import sgv, tgc
from a2sg.window.policy import WindowPolicy
from a2sg.window.site import Site

__all__ = ["AdaptiveWindows", "Site", "WindowPolicy", "sgv", "tgc"]
