"""Adaptive windows: sums per candidate, objectives, searches, and `AdaptiveWindows`."""

from a2sg.window.adaptive import AdaptiveWindows, Site
from a2sg.window.objectives import sgv, tgc

__all__ = ["AdaptiveWindows", "Site", "sgv", "tgc"]
