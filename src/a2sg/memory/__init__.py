"""Less memory per training step, and less time spent on allocating it."""

from a2sg.memory.packing import Packing, pack_spikes
from a2sg.memory.pages import keep_pages

__all__ = ["Packing", "keep_pages", "pack_spikes"]
