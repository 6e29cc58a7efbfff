"""What a network does: spikes, operations, energy; how surrogates fit it; the links of the paper's theory."""

from a2sg.analysis.bridge import Bridge, bridges, dense_bridge
from a2sg.analysis.correlation import Correlation, correlate
from a2sg.analysis.diagnosis import LayerDiagnosis, Potential, StepDiagnosis, Variation
from a2sg.analysis.energy import Energy, EnergyMeter, LayerOperations, measure
from a2sg.analysis.energy_table import EnergyTable, LayerEnergy, StepSpikes, energy_table, relu_twin
from a2sg.analysis.fidelity import FidelityRow, surrogate_fidelity
from a2sg.analysis.gaussian import gaussian_cv
from a2sg.analysis.inspection import Inspection, inspect
from a2sg.analysis.noise import NoisyGradient, noisy_gradient
from a2sg.analysis.scaling import Controlled, PowerLaw, ScalePoint, curvature_by_window, power_laws
from a2sg.analysis.theory import RampCount, ShapeVariation, Theorems, TheoremStep, check_theorems
from a2sg.analysis.tradeoff import ArmPoint, RunPoint, arm_points, run_points
from a2sg.analysis.variation import (
    BatchVariation,
    Estimate,
    HistoryPoint,
    Signal,
    StepVariation,
    batch_variation,
    history_points,
    run_history,
)
from a2sg.analysis.verdict import Verdict

__all__ = [
    "ArmPoint",
    "BatchVariation",
    "Bridge",
    "Controlled",
    "Correlation",
    "Energy",
    "EnergyMeter",
    "EnergyTable",
    "Estimate",
    "FidelityRow",
    "HistoryPoint",
    "Inspection",
    "LayerDiagnosis",
    "LayerEnergy",
    "LayerOperations",
    "NoisyGradient",
    "Potential",
    "PowerLaw",
    "RampCount",
    "RunPoint",
    "ScalePoint",
    "ShapeVariation",
    "Signal",
    "StepDiagnosis",
    "StepSpikes",
    "StepVariation",
    "TheoremStep",
    "Theorems",
    "Variation",
    "Verdict",
    "arm_points",
    "batch_variation",
    "bridges",
    "check_theorems",
    "correlate",
    "curvature_by_window",
    "dense_bridge",
    "energy_table",
    "gaussian_cv",
    "history_points",
    "inspect",
    "measure",
    "noisy_gradient",
    "power_laws",
    "relu_twin",
    "run_history",
    "run_points",
    "surrogate_fidelity",
]
