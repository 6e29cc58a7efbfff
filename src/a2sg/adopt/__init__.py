"""Models of other libraries: finds where they make spikes, and swaps the surrogate there."""

from a2sg.adopt.adapt import Adapted, adapt, revert
from a2sg.adopt.find import register_host
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.spike import spike
from a2sg.adopt.swap import Fire, Swap, without_graph

__all__ = [
    "Adapted",
    "Fire",
    "SpikeSite",
    "Swap",
    "adapt",
    "register_host",
    "revert",
    "spike",
    "without_graph",
]
