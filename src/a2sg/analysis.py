"""What a network does, how surrogates fit it, how its loss bends, and what the theory says about it."""

from typing import TYPE_CHECKING

from a2sg.energy import Energy, EnergyMeter, LayerOperations, measure
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.inspect.inspection import Inspection, inspect
from a2sg.study.inspect.verdict import Verdict
from a2sg.study.measure.batches import BatchSpread, over_batches
from a2sg.study.measure.bridge import Bridge, bridges, dense_bridge
from a2sg.study.measure.correlation import Correlation, correlate
from a2sg.study.measure.curvature import (
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    surrogate_field_jacobian,
)
from a2sg.study.measure.curvature_results import Curvature, FieldSpectrum, GradNormSq, Spectrum
from a2sg.study.measure.diagnosis import LayerDiagnosis, Potential, StepDiagnosis, Variation
from a2sg.study.measure.energy_table import (
    EnergyTable,
    LayerEnergy,
    StepSpikes,
    energy_table,
    relu_twin,
)
from a2sg.study.measure.fidelity import FidelityRow, own_fidelity, surrogate_fidelity
from a2sg.study.measure.gain import Gain, Gains, LayerGain, Remedy, layer_gains
from a2sg.study.measure.gaussian import gaussian_cv
from a2sg.study.measure.landscape import Slice, loss_slice
from a2sg.study.measure.noise import NoisyGradient, noisy_gradient
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.result import Result
from a2sg.study.measure.scaling import Controlled, PowerLaw, ScalePoint, curvature_by_window, power_laws
from a2sg.study.measure.search_gain import SearchGain, search_gain
from a2sg.study.measure.sharpness import Sharpness, worst_case_sharpness
from a2sg.study.measure.theory import RampCount, ShapeVariation, Theorems, TheoremStep, check_theorems
from a2sg.study.measure.unrolled import SurrogateSpike, unrolled
from a2sg.study.measure.variation import (
    BatchVariation,
    Estimate,
    HistoryPoint,
    Signal,
    StepVariation,
    batch_variation,
    history_points,
)
from a2sg.study.report.analysis import Analysis, analyze
from a2sg.study.report.cases import Case, Study
from a2sg.study.report.panel import AnalysisData, Panel, Section, Table
from a2sg.study.report.parts import register_part
from a2sg.study.report.runs import ArmPoint, RunPoint, arm_points, run_points
from a2sg.study.run import run_history

if TYPE_CHECKING:
    from a2sg.study.subject import Subject, find_subject, training_batches
else:

    def __getattr__(name):
        """Data sets need the extra `train`: what opens them is imported when it is asked for."""
        if name not in ("Subject", "find_subject", "training_batches"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from a2sg.study import subject

        return getattr(subject, name)


__all__ = [
    "Analysis",
    "AnalysisData",
    "ArmPoint",
    "BatchSpread",
    "BatchVariation",
    "Bridge",
    "Case",
    "Controlled",
    "Correlation",
    "Curvature",
    "Energy",
    "EnergyMeter",
    "EnergyTable",
    "Estimate",
    "FidelityRow",
    "FieldSpectrum",
    "Gain",
    "Gains",
    "GradNormSq",
    "HistoryPoint",
    "Inspection",
    "InspectionData",
    "LayerDiagnosis",
    "LayerEnergy",
    "LayerGain",
    "LayerOperations",
    "NoisyGradient",
    "Objective",
    "Panel",
    "Potential",
    "PowerLaw",
    "RampCount",
    "Remedy",
    "Result",
    "RunPoint",
    "ScalePoint",
    "SearchGain",
    "Section",
    "ShapeVariation",
    "Sharpness",
    "Signal",
    "Slice",
    "Spectrum",
    "StepDiagnosis",
    "StepSpikes",
    "StepVariation",
    "Study",
    "Subject",
    "SurrogateSpike",
    "Table",
    "TheoremStep",
    "Theorems",
    "Variation",
    "Verdict",
    "analyze",
    "arm_points",
    "batch_variation",
    "bridges",
    "check_theorems",
    "correlate",
    "curvature_by_window",
    "dense_bridge",
    "double_backward_hessian",
    "empirical_fisher",
    "energy_table",
    "find_subject",
    "gauss_newton",
    "gaussian_cv",
    "grad_norm_sq",
    "history_points",
    "inspect",
    "layer_gains",
    "loss_slice",
    "measure",
    "noisy_gradient",
    "over_batches",
    "own_fidelity",
    "power_laws",
    "register_part",
    "relu_twin",
    "run_history",
    "run_points",
    "search_gain",
    "surrogate_fidelity",
    "surrogate_field_jacobian",
    "training_batches",
    "unrolled",
    "worst_case_sharpness",
]
