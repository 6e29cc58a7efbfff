"""What a network does: spikes, operations, energy; how surrogates and windows fit it; how its loss bends."""

from a2sg.analysis.batches import BatchSpread, over_batches
from a2sg.analysis.curvature import (
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    surrogate_field_jacobian,
)
from a2sg.analysis.curvature_results import Curvature, FieldSpectrum, GradNormSq, Spectrum
from a2sg.analysis.diagnosis import LayerDiagnosis, Potential, StepDiagnosis, Variation
from a2sg.analysis.energy import Energy, EnergyMeter, LayerOperations, measure
from a2sg.analysis.inspection import Inspection, inspect
from a2sg.analysis.landscape import Slice, loss_slice
from a2sg.analysis.objective import Objective
from a2sg.analysis.sharpness import Sharpness, worst_case_sharpness
from a2sg.analysis.verdict import Verdict

__all__ = [
    "BatchSpread",
    "Curvature",
    "Energy",
    "EnergyMeter",
    "FieldSpectrum",
    "GradNormSq",
    "Inspection",
    "LayerDiagnosis",
    "LayerOperations",
    "Objective",
    "Potential",
    "Sharpness",
    "Slice",
    "Spectrum",
    "StepDiagnosis",
    "Variation",
    "Verdict",
    "double_backward_hessian",
    "empirical_fisher",
    "gauss_newton",
    "grad_norm_sq",
    "inspect",
    "loss_slice",
    "measure",
    "over_batches",
    "surrogate_field_jacobian",
    "worst_case_sharpness",
]
