"""What a trained network does: spikes, operations, energy."""

from a2sg.analysis.energy import Energy, EnergyMeter, LayerOperations, measure

__all__ = ["Energy", "EnergyMeter", "LayerOperations", "measure"]
