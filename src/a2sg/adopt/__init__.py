"""Models of other libraries: finds where they make spikes, and swaps the surrogate there."""

from a2sg.adopt.adapt import Adapted, adapt, revert
from a2sg.adopt.site import SpikeSite
from a2sg.adopt.spike import spike

__all__ = ["Adapted", "SpikeSite", "adapt", "revert", "spike"]
