"""a2sg: train deep spiking neural networks with adaptive and asymmetric surrogate gradients."""

from a2sg import baselines, export, memory, surrogate
from a2sg._version import __version__
from a2sg.adopt import SpikeSite, adapt, spike
from a2sg.analysis.inspection import Inspection, inspect
from a2sg.analysis.report.analysis import Analysis, analyze
from a2sg.errors import InputError
from a2sg.models import create_model, list_models
from a2sg.neuron import IF, LIF, PLIF, IntegerLIF, recording
from a2sg.window import AdaptiveWindows, sgv, tgc

__all__ = [
    "IF",
    "LIF",
    "PLIF",
    "AdaptiveWindows",
    "Analysis",
    "InputError",
    "Inspection",
    "IntegerLIF",
    "SpikeSite",
    "__version__",
    "adapt",
    "analyze",
    "baselines",
    "create_model",
    "export",
    "inspect",
    "list_models",
    "memory",
    "recording",
    "sgv",
    "spike",
    "surrogate",
    "tgc",
]
