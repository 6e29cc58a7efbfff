"""What a network does: spikes, operations, energy; and how surrogates and windows fit it."""

from a2sg.analysis.diagnosis import LayerDiagnosis, Potential, StepDiagnosis, Variation
from a2sg.analysis.energy import Energy, EnergyMeter, LayerOperations, measure
from a2sg.analysis.inspection import Inspection, inspect
from a2sg.analysis.verdict import Verdict

__all__ = [
    "Energy",
    "EnergyMeter",
    "Inspection",
    "LayerDiagnosis",
    "LayerOperations",
    "Potential",
    "StepDiagnosis",
    "Variation",
    "Verdict",
    "inspect",
    "measure",
]
