"""Less memory per training step: spikes kept for the backward pass as one bit each."""

from a2sg.memory.packing import Packing, pack_spikes

__all__ = ["Packing", "pack_spikes"]
