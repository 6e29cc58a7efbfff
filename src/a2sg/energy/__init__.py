"""Operations of a forward pass, and the energy that they would cost."""

from a2sg.energy.counts import LayerOperations
from a2sg.energy.meter import Energy, EnergyMeter, measure

__all__ = ["Energy", "EnergyMeter", "LayerOperations", "measure"]
